# What programs of root's put down in a tenant's name: $1 the name, $2 the UID. In the form in which they do.
set -eu
jobs() { if [ -d /etc/crontabs ]; then echo /etc/crontabs; else echo /var/spool/cron/crontabs; fi; }

echo '* * * * * touch /tmp/again' >"$(jobs)/$1"
# BusyBox goes by the name alone.
if [ ! -d /etc/crontabs ]; then chown "$2:0" "$(jobs)/$1"; fi
chmod 600 "$(jobs)/$1"
for job in atjobs/a0000101c4d2f0 atspool/a0000101c4d2f0; do
    echo '#!/bin/sh' >"/var/spool/cron/$job"
    chown "$2:0" "/var/spool/cron/$job"
    chmod 700 "/var/spool/cron/$job"
done
: >"/var/lib/systemd/linger/$1"
echo 'From somebody' >"/var/mail/$1"
chown "$2" "/var/mail/$1"
mkdir -p "/run/user/$2/bus.d"
chown -R "$2:$2" "/run/user/$2"
for file in subuid subgid; do
    echo "$1:100000:65536" >>"/etc/$file"
    echo "$2:300000:65536" >>"/etc/$file"
done
for file in passwd shadow group gshadow subuid subgid; do
    if [ -e "/etc/$file" ]; then cp -p "/etc/$file" "/etc/$file-"; fi
done
echo "root's" >"/tmp/$1.shared/kept"
chgrp "$2" /srv/grouped
chmod 2775 /srv/grouped

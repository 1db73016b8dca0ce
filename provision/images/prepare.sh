#!/bin/sh
# Makes a machine of a distribution's root file system: runs inside it, once, while the image is built.
# The files next to it lie in the folder it was started from.
set -eu

# Root has no password, and no empty one either.
sed -i 's/^root:[^:]*:/root:*:/' /etc/shadow
chmod 640 /etc/shadow

install -D -m 755 entrypoint.sh /usr/local/sbin/berth-entrypoint
mkdir -p /run/sshd /run/berth /etc/sudoers.d
chmod 750 /etc/sudoers.d
# Whoever holds the machine may ask it how long; the folders of root's programs are in nobody else's path.
ln -sf ../sbin/berth-agent /usr/local/bin/berth-agent

# Log-in says nothing of its own, only what the agent writes there.
: >/etc/motd
chmod 644 /etc/motd
rm -rf /etc/update-motd.d

# Identities belong to machines, not to images.
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id

for shell in /bin/sh /bin/ash /bin/bash; do
    [ ! -x "$shell" ] || grep -qx "$shell" /etc/shells || echo "$shell" >>/etc/shells
done

install -D -m 644 sshd.conf /etc/ssh/sshd_config.d/berth.conf
# Keys in here are root's, so that an account cannot take their `expiry-time` out.
install -d -m 755 /etc/ssh/berth-keys
# Shown once: by PAM where PAM does it, otherwise by the server itself.
if grep -qs '^session.*pam_motd' /etc/pam.d/sshd; then motd=no; else motd=yes; fi
echo "PrintMotd $motd" >>/etc/ssh/sshd_config.d/berth.conf
# Newer servers shut out an address after failures, and here one address stands for everybody. Older ones
# refuse to start when they read of it.
if /usr/sbin/sshd -G -o PerSourcePenalties=no >/dev/null 2>&1; then
    echo 'PerSourcePenalties no' >>/etc/ssh/sshd_config.d/berth.conf
fi

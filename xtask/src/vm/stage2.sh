# Second stage: inside the host's files. Mounts what a booted machine has,
# runs the command, reports its exit status and switches the machine off.
bb=/run/nodespan/busybox
here=/run/nodespan
. $here/settings

fail() {
    echo "nodespan-init: $*" >/dev/console
    echo o >/proc/sysrq-trigger
    $bb sleep 60
}
on() { # on DIR TYPE OPTIONS: mounts where the kernel has the place for it
    [ -d "$1" ] || $bb mkdir -p "$1" 2>/dev/null
    $bb mount -t "$2" -o "$3" "$2" "$1" 2>/dev/null
}
on /dev/pts devpts mode=620,ptmxmode=666
on /dev/shm tmpfs mode=1777
on /sys/fs/cgroup cgroup2 rw
on /sys/fs/bpf bpf mode=700
on /sys/kernel/tracing tracefs rw
on /sys/kernel/debug debugfs rw
on /sys/kernel/security securityfs rw
$bb mkdir -p /run/lock /run/netns
$bb ln -sf /proc/self/fd /dev/fd
$bb ln -sf /proc/self/fd/0 /dev/stdin
$bb ln -sf /proc/self/fd/1 /dev/stdout
$bb ln -sf /proc/self/fd/2 /dev/stderr
$bb hostname nodespan-guest
$bb ip link set lo up

release=$($bb uname -r)
$bb mkdir -p "/lib/modules/$release"
$bb mount -o bind "$module_tree" "/lib/modules/$release" || fail "cannot see $module_tree"
# One by one: a name that this kernel does not know must not stop the others.
for module in $modules; do
    $modprobe -q "$module"
done

for share in $shares; do # tag=folder, the folder's spaces are not supported
    dir=${share#*=}
    $bb mkdir -p "$dir"
    $bb mount -t virtiofs "${share%%=*}" "$dir" || fail "cannot mount the share $dir"
done

if [ "$net" = 1 ]; then
    for nic in /sys/class/net/*; do
        nic=${nic##*/}
        case $nic in lo | bond* | dummy*) continue ;; esac
        [ -e "/sys/class/net/$nic/device" ] || continue
        $bb ip address add 10.0.2.15/24 dev "$nic"
        $bb ip link set "$nic" up
        $bb ip route add default via 10.0.2.2
        break
    done
fi

# The ports' names arrive from the host a moment after the device.
port() {
    tries=0
    while [ $tries -lt 200 ]; do
        for candidate in /sys/class/virtio-ports/*; do
            if [ "$($bb cat "$candidate/name" 2>/dev/null)" = "$1" ]; then
                echo "/dev/${candidate##*/}"
                return
            fi
        done
        tries=$((tries + 1))
        $bb sleep 0.05
    done
    fail "the host offers no port $1"
}
control=$(port nodespan.control)
out=$(port nodespan.out)
err=$(port nodespan.err)
exec 9>"$control"

# Through pipes, because a port can be opened only once and programs open
# /dev/stdout again.
$bb mkfifo -m 666 $here/out $here/err
$bb cat $here/out >"$out" 9>&- &
cat_out=$!
$bb cat $here/err >"$err" 9>&- &
cat_err=$!

ulimit -n 65536
ulimit -l unlimited
echo ready >&9
# The host's shell: busybox's would take its own programs for the host's.
$bb setsid /bin/sh $here/command.sh </dev/null >$here/out 2>$here/err 9>&- &
wait $!
code=$?

# What the command left running may hold the pipes open.
tries=0
while [ $tries -lt 20 ] && { [ -d /proc/$cat_out ] || [ -d /proc/$cat_err ]; }; do
    $bb sleep 0.05
    tries=$((tries + 1))
done
$bb sync
echo "exit $code" >&9
echo o >/proc/sysrq-trigger
while :; do $bb sleep 60; done

#!/bin/busybox sh
# First stage: from the initial archive to the host's files under a scratch
# layer. Everything here is busybox.
export PATH=/bin
/bin/busybox --install -s /bin
fail() {
    echo "nodespan-init: $*" >/dev/console
    echo o >/proc/sysrq-trigger
    sleep 60
}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do
    insmod "/modules/$module" || fail "cannot load $module"
done </modules/order
mount -t virtiofs -o ro hostroot /lower || fail "cannot mount the host's files"
mount -t tmpfs -o size=75%,mode=755 scratch /scratch
mkdir /scratch/upper /scratch/work
mount -t overlay overlay -o lowerdir=/lower,upperdir=/scratch/upper,workdir=/scratch/work /new ||
    fail "cannot lay the scratch layer over the host's files"
for dir in proc sys dev run tmp; do
    [ -d "/new/$dir" ] || mkdir "/new/$dir"
done
mount -t tmpfs -o mode=755 run /new/run
cp -r /nodespan /new/run/nodespan
cp /bin/busybox /new/run/nodespan/busybox
mount --move /proc /new/proc
mount --move /sys /new/sys
mount --move /dev /new/dev
exec switch_root /new /run/nodespan/busybox sh /run/nodespan/stage2.sh

#!/bin/bash
# The first program of a User-Mode-Linux guest. The host's root is its own, read-only, with a layer in
# memory for changes. It runs one command and halts.
#
# The kernel's command line gives, as init's environment: GUEST_FOLDER (a folder of the host that is
# writable in the guest; it runs the file `command` there, and writes its exit code to `exit`),
# GUEST_MODULES (the folder of the guest kernel's modules), GUEST_SELF (this file), GUEST_SETUP (a file
# that is sourced before the command).
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
# Not all file systems: one whose server is stopped would never be done.
halt() { sync -f "$GUEST_FOLDER"; echo o >/proc/sysrq-trigger; sleep 60; }
fail() { echo "guest: $*"; echo 71 >"$GUEST_FOLDER/exit"; halt; }

mount -t proc proc /proc
if [ ! -e /.guest ]; then
  mount -t tmpfs tmpfs /media && mkdir /media/upper /media/work /media/root
  insmod "$GUEST_MODULES/kernel/fs/overlayfs/overlay.ko"
  mount -t overlay overlay -o lowerdir=/,upperdir=/media/upper,workdir=/media/work /media/root ||
    { echo 'guest: no overlay'; echo o >/proc/sysrq-trigger; sleep 60; }
  root=/media/root
  touch $root/.guest
  mkdir -p $root/lib/modules
  ln -sfn "$GUEST_MODULES" "$root/lib/modules/$(uname -r)"
  mount -t devtmpfs dev $root/dev
  mkdir -p $root/dev/shm
  mount -t tmpfs shm $root/dev/shm
  mount -t sysfs sys $root/sys
  mount -t tmpfs run $root/run
  mount -t hostfs none "$root$GUEST_FOLDER" -o "$GUEST_FOLDER"
  exec chroot $root "$GUEST_SELF"
fi

hostname guest
ip link set lo up || fail 'no loopback'
dmesg -n 1
. "$GUEST_SETUP"
stty -F /dev/tty1 raw -echo 2>/dev/null
cd / && setsid bash "$GUEST_FOLDER/command" </dev/null >/dev/tty1 2>&1
echo $? >"$GUEST_FOLDER/exit"
stty -F /dev/tty1 sane 2>/dev/null
halt

# Sourced by boot.sh: the kernel's own encryption of disks.
modprobe dm-crypt && modprobe loop && modprobe xts && modprobe cbc || fail 'no dm-crypt'

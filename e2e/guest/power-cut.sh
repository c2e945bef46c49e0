# Sourced by boot.sh: a disk whose power can be cut.
modprobe dm-flakey || fail 'no dm-flakey'

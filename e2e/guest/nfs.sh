# Sourced by boot.sh: makes the guest an NFS server and one or two NFS clients of itself, the server
# and the clients of the Linux kernel, over the guest's own network.
#
# The exports, by the path of NFSv3 (NFSv4 leaves /srv out): /srv/nfs on the guest's disk;
# /srv/squash, where root is nobody; /srv/readonly; /srv/small, 16 MiB. The server of the first client
# is 127.0.0.1, that of the second 10.9.0.1. Settings come from the file `nfs` in $GUEST_FOLDER.
mount_options= export_options= second=
. "$GUEST_FOLDER/nfs"

modprobe nfsd || fail 'no nfsd'
modprobe nfsv3 && modprobe nfsv4 || fail 'no NFS client'

mount -t tmpfs exports /srv
mkdir /srv/nfs /srv/squash /srv/readonly /srv/small
mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 /dev/ubda || fail 'mkfs.ext4'
mount -t ext4 /dev/ubda /srv/nfs && rmdir /srv/nfs/lost+found || fail 'no disk for the export'
mount -t tmpfs -o size=64M,mode=755 squash /srv/squash
mount -t tmpfs -o size=64M readonly /srv/readonly
mount -t tmpfs -o size=16M small /srv/small

mkdir -p /etc/exports.d /var/lib/nfs/rpc_pipefs /var/lib/nfs/v4recovery /var/lib/nfs/nfsdcld \
  /var/lib/nfs/sm /run/rpcbind
: >/var/lib/nfs/etab
: >/var/lib/nfs/rmtab
mount -t rpc_pipefs sunrpc /var/lib/nfs/rpc_pipefs
mount -t nfsd nfsd /proc/fs/nfsd
common=sync,no_subtree_check,insecure
{
  echo "/srv *(ro,fsid=0,$common)"
  echo "/srv/nfs *(rw,no_root_squash,fsid=1,$common${export_options:+,$export_options})"
  echo "/srv/squash *(rw,root_squash,fsid=2,$common)"
  echo "/srv/readonly *(ro,no_root_squash,fsid=3,$common)"
  echo "/srv/small *(rw,no_root_squash,fsid=4,$common)"
} >/etc/exports
# With its record of clients the server need not wait for others after a restart.
nfsdcld || fail 'no nfsdcld'
rpcbind -w 2>/dev/null || rpcbind || fail 'no rpcbind'
rpc.statd --no-notify
exportfs -r || fail 'exportfs'
echo 10 >/proc/fs/nfsd/nfsv4leasetime
echo 10 >/proc/fs/nfsd/nfsv4gracetime
rpc.nfsd -V 3 -V 4 -V 4.1 -V 4.2 4 || fail 'no server'
rpc.mountd
echo Y >/proc/fs/nfsd/v4_end_grace

place=/nfs
[ "$version" = 3 ] && place=/srv/nfs
mkdir -p /mnt/nfs /mnt/nfs2
mount -t nfs -o "vers=$version${mount_options:+,$mount_options}" "127.0.0.1:$place" /mnt/nfs ||
  fail 'mount'

if [ "$second" ]; then
  # Another network namespace is another client, with caches and a connection of its own; its host
  # name too, which the server knows a client by.
  modprobe veth && ip netns add second && ip link add first0 type veth peer name second0 netns second ||
    fail 'no second network'
  ip addr add 10.9.0.1/24 dev first0
  ip link set first0 up
  ip -n second addr add 10.9.0.2/24 dev second0
  ip -n second link set second0 up
  ip -n second link set lo up
  nsenter --net=/run/netns/second unshare --uts sh -c \
    "hostname second; mount -t nfs -o 'vers=$version${mount_options:+,$mount_options}' 10.9.0.1:$place /mnt/nfs2" ||
    fail 'second mount'
fi

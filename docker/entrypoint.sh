#!/bin/sh
# The first process of the container: gives the server its storage folder and lets it run as an
# ordinary user, then becomes the program itself, so that signals and the exit code are the program's.
#
# It acts only as root and only for `serve`. With `docker run --user` or `runAsUser` it changes
# nothing, and every other command keeps the user that it was given.
set -eu

user=1000 # `node` in the Node.js images, and the first user of most Linux machines
folder=${BACKING_IMAGE_STORAGE_PATH:-/var/lib/longhorn/backing-images}

# `docker run IMAGE backing-image-manager serve` is as good as `docker run IMAGE serve`.
if [ "${1:-}" = backing-image-manager ]; then shift; fi

# The folder is ours to give away when nothing is in it (a new ext4 file system holds lost+found), or
# when one of this store's own folders is and the owner is root or our user. In any other case
# somebody else keeps files there: the server says what it may not do, and the operator decides.
is_ours() {
  # With a limit: an export whose server is away never answers, and must not keep ours from starting.
  others=$(timeout 5 find "$folder/" -mindepth 1 -maxdepth 1 ! -name lost+found -print -quit) ||
    return 1
  if [ -z "$others" ]; then return 0; fi
  case $(stat -L -c %u "$folder") in 0 | "$user") ;; *) return 1 ;; esac
  for name in .catalog .jobs .marks .tmp; do
    if [ -d "$folder/$name" ] && [ ! -L "$folder/$name" ]; then return 0; fi
  done
  return 1
}

if [ "$(id -u)" != 0 ] || [ "${1:-serve}" != serve ]; then exec backing-image-manager "$@"; fi

case ${STORAGE_BACKEND_TYPE:-local} in
  local) mkdir -p "$folder" 2>/dev/null || : ;;
  nfs)
    # The one case that stays root: only root, with CAP_SYS_ADMIN, may mount the export, and unmount it
    # at the end. Where the export is mounted from outside, leave NFS_SERVER unset.
    if [ -n "${NFS_SERVER:-}" ]; then
      mkdir -p "$folder" 2>/dev/null || :
      exec backing-image-manager "$@"
    fi
    ;;
  *) folder= ;; # nothing to give away
esac
# The folder, never its tree: what is in it may be large, or not ours. A failure is no end: an export
# that squashes root, or a read-only mount, may still do for the server, and where it does not the
# server's message names the user, the path and the mode.
if [ -n "$folder" ] && is_ours 2>/dev/null; then chown "$user:$user" "$folder" 2>/dev/null || :; fi
# A new program, not a call inside of this one: it starts without any right of root, and its files
# under /proc/self are its own.
exec setpriv --reuid "$user" --regid "$user" --clear-groups backing-image-manager "$@"

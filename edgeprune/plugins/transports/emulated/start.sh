# start.sh ROOT DISK BOARD QEMU NAME: make this namespace a board, say so, and stay until standard input ends.
#
# ROOT is a Debian system that stays as it is, DISK holds what the board writes (upper, work) and where both are
# seen together (merged), BOARD what it says below /proc and /sys. Runs as the root of a new user namespace.
set -eu
root=$1 disk=$2 board=$3 qemu=$4 name=$5
here=$disk/merged

# Since Linux 6.7 every user namespace has formats of its own; on older kernels this mount is refused.
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
# 64-bit little-endian ELF, executable or shared, machine 0xb7; F: qemu is opened now, from outside the board.
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
printf '%s' ":edgeprune-aarch64:M::$magic:$mask:$qemu:OCF" > /proc/sys/fs/binfmt_misc/register

mount -t overlay overlay -o "lowerdir=$root,upperdir=$disk/upper,workdir=$disk/work,userxattr" "$here"
mount -t proc proc "$here/proc"
for file in cpuinfo meminfo; do mount --bind "$board/proc/$file" "$here/proc/$file"; done
mount --bind "$board/sys" "$here/sys"
mount --rbind /dev "$here/dev"
hostname "$name"
echo ready
exec cat > /dev/null

SUMMARY = "The box: the recorder, its sidecars, updates in two slots"
DESCRIPTION = "A read-only root in two slots, a data partition that is made and grown at the first boot, no password, SSH only by key."
SECTION = "base"
LICENSE = "MIT OR Apache-2.0"

inherit core-image

IMAGE_FEATURES = "read-only-rootfs"
IMAGE_FSTYPES = "ext4 wic.gz wic.bmap"
IMAGE_LINGUAS = ""
WKS_FILE = "nearend.wks.in"
# As on a box from scripts/image: one size for both slots.
IMAGE_ROOTFS_SIZE = "262144"
IMAGE_OVERHEAD_FACTOR = "1"

IMAGE_INSTALL = " \
    packagegroup-core-boot \
    ca-certificates \
    e2fsprogs-e2fsck \
    e2fsprogs-mke2fs \
    e2fsprogs-resize2fs \
    libubootenv-bin \
    nearend \
    nearend-appliance \
    nearend-panel \
    nearend-tone \
    openssh-sshd \
    rauc \
    util-linux-partx \
    util-linux-sfdisk \
"

# Nobody has a password, and nobody gets one.
no_passwords[doc] = "Fails when an account of the image has a password"
no_passwords() {
    if cut -d: -f2 ${IMAGE_ROOTFS}${sysconfdir}/shadow | grep -qv '^[!*]'; then
        bbfatal "there is a password in the image"
    fi
}
ROOTFS_POSTPROCESS_COMMAND += "no_passwords"

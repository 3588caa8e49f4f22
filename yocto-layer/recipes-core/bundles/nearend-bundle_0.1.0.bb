SUMMARY = "An update of the box, signed"
DESCRIPTION = "A RAUC bundle in the format verity with the root file system for the slot that does not run."
SECTION = "base"
LICENSE = "MIT OR Apache-2.0"

inherit bundle

RAUC_BUNDLE_COMPATIBLE = "nearend-${MACHINE}"
RAUC_BUNDLE_VERSION = "${DISTRO_VERSION}"
RAUC_BUNDLE_FORMAT = "verity"
RAUC_BUNDLE_SLOTS = "rootfs"
RAUC_SLOT_rootfs = "nearend-image"
RAUC_SLOT_rootfs[fstype] = "ext4"
RAUC_SLOT_rootfs[imagetype] = "raw"

# The owner's, from outside of this layer.
NEAREND_SIGNER_KEY ?= ""
NEAREND_SIGNER_CERTIFICATE ?= ""
RAUC_KEY_FILE = "${NEAREND_SIGNER_KEY}"
RAUC_CERT_FILE = "${NEAREND_SIGNER_CERTIFICATE}"

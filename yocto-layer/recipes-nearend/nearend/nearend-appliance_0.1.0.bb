SUMMARY = "What makes a Linux the box: data partition, provisioning, health, slots"
DESCRIPTION = "The same files as on an image of scripts/image: board/rootfs and systemd/appliance."
SECTION = "base"
LICENSE = "MIT OR Apache-2.0"
LIC_FILES_CHKSUM = "file://${NEAREND_ROOT}/LICENSE-MIT;md5=69494dc3586dca2d522f8c7de4b06251"

inherit allarch systemd

NEAREND_BOARD ?= "virt"
INHIBIT_DEFAULT_DEPS = "1"
do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install[file-checksums] += "${NEAREND_ROOT}/board:True ${NEAREND_ROOT}/systemd:True"

S = "${UNPACKDIR}"

do_install() {
    install -d ${D}${nonarch_libdir}/nearend ${D}${systemd_system_unitdir} ${D}${sysconfdir} ${D}${datadir}/nearend ${D}/data ${D}/boot/firmware
    for program in ${NEAREND_ROOT}/board/rootfs/usr/lib/nearend/*; do
        install -m 0755 $program ${D}${nonarch_libdir}/nearend/
    done
    for unit in ${NEAREND_ROOT}/systemd/appliance/*; do
        install -m 0644 $unit ${D}${systemd_system_unitdir}/
    done
    for folder in ssh systemd udev; do
        cp -r --no-preserve=ownership ${NEAREND_ROOT}/board/rootfs/etc/$folder ${D}${sysconfdir}/
    done
    install -m 0644 ${NEAREND_ROOT}/board/rootfs/etc/fw_env.config ${D}${sysconfdir}/
    install -m 0644 ${NEAREND_ROOT}/board/${NEAREND_BOARD}.toml ${D}${datadir}/nearend/board.toml
}

FILES:${PN} = "${nonarch_libdir}/nearend ${systemd_system_unitdir} ${sysconfdir} ${datadir}/nearend /data /boot/firmware"
RDEPENDS:${PN} = "nearend rauc"
SYSTEMD_SERVICE:${PN} = "nearend-provision.service nearend-health.service"

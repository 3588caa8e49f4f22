SUMMARY = "Call recording at the edge"
DESCRIPTION = "The recorder, and beside it a simulated media server for test calls, the loudspeaker's sidecar and the panel."
SECTION = "net"
LICENSE = "MIT OR Apache-2.0"
LIC_FILES_CHKSUM = " \
    file://LICENSE-MIT;md5=69494dc3586dca2d522f8c7de4b06251 \
    file://LICENSE-APACHE;md5=3b83ef96387f14655fc854ddc3c6bd57 \
"
DEPENDS = "alsa-lib cmake-native"

require nearend-crates.inc

inherit cargo externalsrc pkgconfig systemd useradd

# The project that this layer is a folder of; what is built there stays out of it.
EXTERNALSRC = "${NEAREND_ROOT}"
EXTERNALSRC_BUILD = "${WORKDIR}/build"
EXTERNALSRC_SYMLINKS = ""

CARGO_BUILD_FLAGS += "--bins"

do_install() {
    for program in nearend nearend-msr nearend-panel nearend-tone; do
        install -D -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/$program ${D}${bindir}/$program
    done
    for unit in nearend nearend-panel nearend-tone; do
        install -D -m 0644 ${S}/systemd/$unit.service ${D}${systemd_system_unitdir}/$unit.service
    done
    install -D -m 0644 ${S}/systemd/nearend.sysusers ${D}${nonarch_libdir}/sysusers.d/nearend.conf
    install -D -m 0644 ${S}/systemd/nearend.tmpfiles ${D}${nonarch_libdir}/tmpfiles.d/nearend.conf
    install -d -m 0750 ${D}${sysconfdir}/nearend
    install -m 0640 ${S}/board/rootfs/etc/nearend/nearend.toml ${D}${sysconfdir}/nearend/nearend.toml
    chgrp -R nearend ${D}${sysconfdir}/nearend
}

PACKAGES =+ "${PN}-msr ${PN}-panel ${PN}-tone"
FILES:${PN}-msr = "${bindir}/nearend-msr"
FILES:${PN}-panel = "${bindir}/nearend-panel ${systemd_system_unitdir}/nearend-panel.service"
FILES:${PN}-tone = "${bindir}/nearend-tone ${systemd_system_unitdir}/nearend-tone.service"
FILES:${PN} += "${nonarch_libdir}/sysusers.d ${nonarch_libdir}/tmpfiles.d"
CONFFILES:${PN} = "${sysconfdir}/nearend/nearend.toml"
RDEPENDS:${PN}-panel = "${PN}"
RDEPENDS:${PN}-tone = "${PN}"
RRECOMMENDS:${PN} = "${PN}-msr"

SYSTEMD_PACKAGES = "${PN} ${PN}-panel ${PN}-tone"
SYSTEMD_SERVICE:${PN} = "nearend.service"
SYSTEMD_SERVICE:${PN}-panel = "nearend-panel.service"
SYSTEMD_SERVICE:${PN}-tone = "nearend-tone.service"

# Fixed numbers, so that a data partition means the same to every image.
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "-r -g 811 nearend; -r -g 812 nearend-tone; -r -g 813 nearend-panel"
USERADD_PARAM:${PN} = " \
    -r -u 811 -g nearend -G nearend-tone,nearend-panel -d ${localstatedir}/lib/nearend -s /sbin/nologin nearend; \
    -r -u 812 -g nearend-tone -G audio -s /sbin/nologin nearend-tone; \
    -r -u 813 -g nearend-panel -G nearend-tone -s /sbin/nologin nearend-panel \
"

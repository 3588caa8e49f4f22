# Slots and keyring of the box, instead of the example's. They hold for this distribution alone.
FILESEXTRAPATHS:prepend:nearend := "${NEAREND_ROOT}/board/rootfs/etc/rauc:"
DEPENDS:append:nearend = " openssl-native"

RAUC_KEYRING_FILE:nearend = "keyring.pem"
RAUC_KEYRING_URI:nearend = ""

do_install:prepend:nearend() {
    if [ -z "${NEAREND_KEYRING}" ]; then
        bbfatal "set NEAREND_KEYRING to the certificate of those whose updates the box shall take (scripts/update-keys makes one)"
    fi
    if openssl x509 -in ${NEAREND_KEYRING} -noout -subject | grep -q 'Nearend development'; then
        bbwarn "development keys: not for use"
    fi
    install -m 0644 ${NEAREND_KEYRING} ${UNPACKDIR}/keyring.pem
    sed -i -e 's/@COMPATIBLE@/nearend-${MACHINE}/' -e 's,^path=.*,path=${nonarch_libdir}/rauc/keyring.pem,' ${UNPACKDIR}/system.conf
}

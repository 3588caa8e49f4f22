# U-Boot's script, the same on every board: takes the first slot of BOOT_ORDER that has tries left, and takes one from it. The three
# variables are in one sector of their own before the first partition, so that writing them cannot be half done. Linux reads and
# writes the same sector (fw_setenv, which RAUC calls): a new system has three tries. A healthy one is given nine, as soon as it takes calls, so
# that a site whose power comes and goes does not lose the system that works.

setenv BOOT_ORDER "A B"
setenv BOOT_A_LEFT 9
setenv BOOT_B_LEFT 9
if test -z "${devtype}"; then setenv devtype mmc; fi
if test -z "${devnum}"; then setenv devnum 0; fi
${devtype} dev ${devnum}
if ${devtype} read ${ramdisk_addr_r} 0x400 1; then
    env import -c ${ramdisk_addr_r} 0x200 BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT
fi

setenv slot
for name in "${BOOT_ORDER}"; do
    if test -n "${slot}"; then
        true
    elif test "${name}" = "A" && test ${BOOT_A_LEFT} -gt 0; then
        setexpr BOOT_A_LEFT ${BOOT_A_LEFT} - 1
        setenv slot A
        setenv partition 2
    elif test "${name}" = "B" && test ${BOOT_B_LEFT} -gt 0; then
        setexpr BOOT_B_LEFT ${BOOT_B_LEFT} - 1
        setenv slot B
        setenv partition 3
    fi
done
if test -z "${slot}"; then
    # Both have used their tries up: a box that tries again is better than one that stands still.
    setenv BOOT_A_LEFT 3
    setenv BOOT_B_LEFT 3
fi
env export -c -s 0x200 ${ramdisk_addr_r} BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT
${devtype} write ${ramdisk_addr_r} 0x400 1
if test -z "${slot}"; then reset; fi

echo "nearend: slot ${slot}, order ${BOOT_ORDER}, tries left A ${BOOT_A_LEFT} B ${BOOT_B_LEFT}"
load ${devtype} ${devnum}:${partition} ${scriptaddr} /boot/arguments.env
env import -t ${scriptaddr} ${filesize} arguments device_tree
setenv bootargs "rauc.slot=${slot} ${arguments}"
if test -n "${device_tree}"; then
    load ${devtype} ${devnum}:${partition} ${fdt_addr_r} /boot/${device_tree}
    setenv device_tree_address ${fdt_addr_r}
else
    setenv device_tree_address ${fdtcontroladdr}
fi
load ${devtype} ${devnum}:${partition} ${kernel_addr_r} /boot/vmlinuz
load ${devtype} ${devnum}:${partition} ${ramdisk_addr_r} /boot/initrd
booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${device_tree_address}
# Not reached by a slot that can be started. What is left of its tries goes the same way.
reset

package proc

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Settle gives back the pages of this program's own file that were read while it started and are not needed while nothing happens:
// libraries that prepare themselves touch many of them once. They are clean, so the kernel maps them again, from its cache, when they
// are used. It only ever makes the process smaller; an error says why it did not.
func Settle() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	var all error
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		var from, to uintptr
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil {
			return err
		}
		if strings.HasSuffix(lines.Text(), " "+exe) && !strings.Contains(mode, "w") { // what is written to is not the file's any more
			if _, _, no := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); no != 0 {
				all = errors.Join(all, no)
			}
		}
	}
	return errors.Join(all, lines.Err())
}

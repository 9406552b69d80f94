package proc

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Shared memory, semaphores and message queues of System V, and the queues of POSIX, stay when who made them has ended. In a
// namespace of their own (ipc_namespaces(7)) they end with the last process in it, and nobody outside sees them. Only who has
// CAP_SYS_ADMIN can make one: root, as a rule.

// ownIPC gives the calling thread, and with it the command, such a namespace where that is possible.
func ownIPC() error {
	if !canOwnIPC() {
		return nil // Isolation says it
	}
	if err := unix.Unshare(unix.CLONE_NEWIPC); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("making a namespace for shared memory: %w", err)
	}
	return nil
}

// canOwnIPC reports whether this process may make namespaces.
func canOwnIPC() bool {
	var have [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &have[0])
	return err == nil && have[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0 && exists("/proc/self/ns/ipc")
}

func ipcLacks() []string {
	if canOwnIPC() {
		return nil
	}
	return []string{"Runs can leave shared memory and message queues behind (`ipcs` lists them), because the server may make no namespaces: only root may."}
}

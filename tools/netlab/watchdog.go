package netlab

import (
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// watchdog is a shell that holds the read end of a pipe. When its owner dies in
// whatever way, a panic or SIGKILL included, the pipe ends without a word and
// the shell removes the lab. Should it die too, the next [New] does.
type watchdog struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

// The arguments are the folder of the namespaces, the lab's id and its folder.
const watchScript = `
trap '' INT TERM HUP QUIT PIPE
read -r word && [ "$word" = closed ] && exit 0
for file in "$1/$2"_*; do
	[ -e "$file" ] || continue
	inode=$(stat -L -c %i "$file")
	for try in 1 2 3 4 5; do
		pids=$(find /proc -maxdepth 3 -path '/proc/[0-9]*/ns/net' -lname "net:\[$inode\]" 2>/dev/null | cut -d/ -f3)
		[ -z "$pids" ] && break
		kill -9 $pids
	done
	umount -l "$file"
	rm -f "$file"
done
for mount in "$3"/` + bpfPrefix + `*; do umount -l "$mount"; done
rm -rf "$3"
`

func watch(id, dir string) (*watchdog, error) {
	cmd := exec.Command("sh", "-c", watchScript, "netlab-watchdog", netnsDir, id, dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C at the terminal is not for it
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start watchdog: %w", err)
	}
	return &watchdog{cmd, pipe}, nil
}

// dismiss ends the watchdog after the lab is gone.
func (w *watchdog) dismiss() error {
	if _, err := io.WriteString(w.pipe, "closed\n"); err != nil {
		_ = w.cmd.Wait() // it is dead, nothing is lost
		return nil
	}
	if err := w.cmd.Wait(); err != nil {
		return fmt.Errorf("watchdog: %w", err)
	}
	return nil
}

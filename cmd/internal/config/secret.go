package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/goccy/go-yaml/ast"

	"spindle/ike/session"
)

// maxSecret bounds a PSK file: longer ones are some other file.
const maxSecret = 4096

// maxNamed bounds any other file that the configuration names.
const maxNamed = 1 << 20

// secret is the content of a file that the configuration names.
type secret struct {
	data []byte
	open bool // others than its owner and group may read it
}

// readSecret reads a whole file without following a pipe or device into a wait.
func readSecret(path string) (secret, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return secret{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return secret{}, err
	}
	if !info.Mode().IsRegular() {
		return secret{}, errors.New("not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxNamed+1))
	if err != nil {
		return secret{}, err
	}
	return secret{data, info.Mode().Perm()&0o004 != 0}, nil
}

// psk reads a pre-shared key.
func (d *decoder) psk(n ast.Node) session.Secret { return d.secret(n, "psk", "key") }

// secret reads {file: path} or {value: text}; what names it in messages, which
// show nothing of it, and kind says what the file holds.
func (d *decoder) secret(n ast.Node, what, kind string) session.Secret {
	var fromFile, inline session.Secret
	var file, value ast.Node
	d.object(n, what,
		may("file", func(n ast.Node) { file = n; fromFile = d.secretFile(n, what, kind) }),
		may("value", func(n ast.Node) { value = n; inline = d.secretValue(n, what, kind) }),
	)
	switch {
	case file != nil && value != nil:
		d.refuse(n, "%s has both file and value: keep one", what)
	case file != nil:
		return fromFile
	case value != nil:
		return inline
	default:
		if _, ok := mapping(n); ok {
			d.refuse(n, "%s needs file: PATH or value: TEXT", what)
		}
	}
	return nil
}

func (d *decoder) secretValue(n ast.Node, what, kind string) session.Secret {
	s, ok := d.text(n, what+" value")
	if ok && s == "" {
		d.refuse(n, "%s value is empty: an empty %s protects nothing", what, kind)
	}
	return session.Secret(s)
}

// secretFile reads it: the file's content without its last line end. A file
// that everybody may read is a warning, not a refusal: where the gateway is the
// only tenant of its machine nobody else is there to read it.
func (d *decoder) secretFile(n ast.Node, what, kind string) session.Secret {
	path, ok := d.text(n, what+" file")
	if !ok {
		return nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(d.dir, path)
	}
	s, err := d.read(path)
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	key := bytes.TrimSuffix(bytes.TrimSuffix(s.data, []byte("\n")), []byte("\r"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.refuse(n, "%s file %s does not exist: create it with the %s as its only line, mode 0600", what, path, kind)
	case err != nil:
		d.refuse(n, "%s file %s: %v", what, path, err)
	case len(s.data) > maxSecret:
		d.refuse(n, "%s file %s is longer than %d bytes: is it the right file?", what, path, maxSecret)
	case len(key) == 0:
		d.refuse(n, "%s file %s is empty: write the %s into it", what, path, kind)
	default:
		if s.open {
			d.warn(n, "%s file %s is readable by everybody: chmod 600 it", what, path)
		}
		return session.Secret(key)
	}
	return nil
}

var errNoSecret = errors.New("not among the secrets that came with the configuration")

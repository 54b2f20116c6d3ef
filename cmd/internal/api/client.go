package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// maxAnswer bounds what a client reads: 100,000 child SAs take about 60 MB.
const maxAnswer = 256 << 20

// Client speaks to the gateway of one runtime directory.
type Client struct {
	dir  string
	http http.Client
}

// NewClient makes a client; it connects when it is first used.
func NewClient(runtimeDir string) *Client {
	path := SocketPath(runtimeDir)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &Client{runtimeDir, http.Client{
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
		Timeout:   10 * time.Second,
	}}
}

// Table reads one table into rows, a pointer to a slice of its row type or a
// *json.RawMessage.
func (c *Client) Table(ctx context.Context, name string, rows any) error {
	return c.call(ctx, http.MethodGet, name, nil, rows)
}

// Up asks for a connection, or one child of it.
func (c *Client) Up(ctx context.Context, t Target) error {
	return c.call(ctx, http.MethodPost, "up", t, nil)
}

// Down takes it down, telling the peer.
func (c *Client) Down(ctx context.Context, t Target) error {
	return c.call(ctx, http.MethodPost, "down", t, nil)
}

// Rekey asks for new keys: of one child, or of the IKE SA.
func (c *Client) Rekey(ctx context.Context, t Target) error {
	return c.call(ctx, http.MethodPost, "rekey", t, nil)
}

// Reload makes the gateway read its configuration again.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "reload", nil, nil)
}

// Why asks what is wrong with a connection, or with those of a peer.
func (c *Client) Why(ctx context.Context, name string) (list []Why, err error) {
	err = c.call(ctx, http.MethodGet, "why?name="+url.QueryEscape(name), nil, &list)
	return list, err
}

// Clear takes SAs away.
func (c *Client) Clear(ctx context.Context, which Clear) (done Cleared, err error) {
	err = c.call(ctx, http.MethodPost, "clear", which, &done)
	return done, err
}

// Follow calls deliver with each event from now on, until ctx ends, which is no
// error, or the gateway does.
func (c *Client) Follow(ctx context.Context, f Follow, deliver func(Event) error) error {
	query := url.Values{"debug": {strconv.FormatBool(f.Debug)}}
	if f.Peer.IsValid() {
		query.Set("peer", f.Peer.String())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://spindle/v1/follow?"+query.Encode(), nil)
	if err != nil {
		return fmt.Errorf("request follow: %w", err)
	}
	endless := c.http
	endless.Timeout = 0
	resp, err := endless.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		return understand(resp.StatusCode, "follow", text, nil)
	}
	for lines := json.NewDecoder(resp.Body); ; {
		var e Event
		switch err := lines.Decode(&e); {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("the gateway stopped")
		case err != nil:
			return c.unreachable(err)
		}
		if err := deliver(e); err != nil {
			return err
		}
	}
}

func (c *Client) call(ctx context.Context, method, name string, body, answer any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://spindle/v1/"+name, content)
	if err != nil {
		return fmt.Errorf("request %s: %w", name, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return c.unreachable(err)
	}
	return understand(resp.StatusCode, name, text, answer)
}

func understand(status int, name string, text []byte, answer any) error {
	if status != http.StatusOK {
		var f failure
		if json.Unmarshal(text, &f) != nil || f.Error == "" {
			f.Error = fmt.Sprintf("the gateway answered %s with status %d", name, status)
		}
		return errors.New(f.Error)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("read answer to %s: %w", name, err)
	}
	return nil
}

// unreachable says what to do when there is no answer.
func (c *Client) unreachable(err error) error {
	path := SocketPath(c.dir)
	var timeout net.Error
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no gateway runs with runtime directory %s: start one with spindle run, or name its directory with --runtime-dir", c.dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: permission denied: run this as the user that runs spindle (root)", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("the gateway of %s is not running any more: start it with spindle run", c.dir)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("the control process of %s does not answer: it may be restarting; see the log of spindle run", c.dir)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("the control process of %s died while it answered: it restarts by itself; try again", c.dir)
	}
	return fmt.Errorf("ask the gateway of %s: %w", c.dir, err)
}

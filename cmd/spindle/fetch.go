package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"spindle/ike/session"
)

// CRLs and OCSP responses are fetched with these bounds. The engine keeps what
// came, so that a URL is fetched once for all the peers that need it.
const (
	fetchTimeout = 5 * time.Second
	fetchMost    = 8 << 20 // octets of one answer
	fetchAtOnce  = 8
)

// fetcher gets by plain HTTP what certificates are checked against: the answers
// are signed, and not secret. It follows no redirection.
type fetcher struct {
	client http.Client
	slots  chan struct{}
}

func newFetcher() *fetcher {
	return &fetcher{
		client: http.Client{
			Timeout:       fetchTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		slots: make(chan struct{}, fetchAtOnce),
	}
}

// get never fails: what went wrong is in the answer.
func (f *fetcher) get(ctx context.Context, address string) session.Fetched {
	f.slots <- struct{}{}
	defer func() { <-f.slots }()
	data, err := f.read(ctx, address)
	if err != nil {
		return session.Fetched{URL: address, Err: err.Error()}
	}
	return session.Fetched{URL: address, Data: data}
}

func (f *fetcher) read(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := f.client.Do(request)
	var cause *url.Error // it repeats the URL
	if errors.As(err, &cause) {
		err = cause.Err
	}
	if err != nil {
		return nil, fmt.Errorf("unreachable: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP status %d", response.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, fetchMost+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > fetchMost:
		return nil, fmt.Errorf("answer longer than %d bytes", fetchMost)
	}
	return data, nil
}

// fetch gets something beside the control loop and tells the engine on it.
func (c *control) fetch(address string) {
	go func() {
		answer := c.fetcher.get(c.life, address)
		select {
		case c.requests <- func() { c.step(answer) }:
		case <-c.life.Done():
		}
	}()
}

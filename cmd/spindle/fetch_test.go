package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestFetch: what comes, and each way in which nothing does.
func TestFetch(t *testing.T) {
	web := http.NewServeMux()
	web.HandleFunc("/good", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("a list")) })
	web.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/good", http.StatusFound) })
	web.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, fetchMost+1)) })
	server := httptest.NewServer(web)
	defer server.Close()
	f := newFetcher()
	for _, c := range []struct{ url, data, err string }{
		{server.URL + "/good", "a list", ""},
		{server.URL + "/none", "", "HTTP status 404"},
		{server.URL + "/moved", "", "HTTP status 302"},
		{server.URL + "/long", "", "answer longer than"},
		{"http://127.0.0.1:1/", "", "unreachable: "},
		{"http://[", "", "missing"},
	} {
		got := f.get(t.Context(), c.url)
		if got.URL != c.url || string(got.Data) != c.data || !strings.HasPrefix(got.Err, c.err) && !strings.Contains(got.Err, c.err) || (c.err == "") != (got.Err == "") {
			t.Errorf("%s: %d bytes, %q", c.url, len(got.Data), got.Err)
		}
	}
}

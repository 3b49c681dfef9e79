// HTTP/1.1 test server on net/http: goserver serve PORT LOG.
//
// Serves the suite's common verbs (see tests/src/verbs.rs) and writes one line
// `METHOD path status` per request to LOG, `-` where no response was sent.
//
// As a link of a chain: goserver chain PORT NAME [ROUTE=URL]… (see chain.py).
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
)

const big = 10 * 1024 * 1024

type recorder struct {
	http.ResponseWriter
	status string
}

func (r *recorder) WriteHeader(code int) {
	r.status = fmt.Sprint(code)
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(data []byte) (int, error) {
	if r.status == "-" {
		r.status = "200"
	}
	return r.ResponseWriter.Write(data)
}

// raw takes the connection over and writes text as the whole answer.
func (r *recorder) raw(status, text string) *net.TCPConn {
	conn, buf, err := r.ResponseWriter.(http.Hijacker).Hijack()
	if err != nil {
		log.Fatal(err)
	}
	r.status = status
	buf.WriteString(text)
	buf.Flush()
	return conn.(*net.TCPConn)
}

func answer(w *recorder, req *http.Request) {
	verb := strings.SplitN(req.URL.Path, "/", 3)[1]
	switch verb {
	case "small":
		if req.Header.Get("If-Modified-Since") != "" {
			w.WriteHeader(304)
			return
		}
		w.Write([]byte("hello\n"))
	case "big":
		w.Header().Set("Content-Length", fmt.Sprint(big))
		block := bytes.Repeat([]byte("x"), 65536)
		for sent := 0; sent < big; sent += len(block) {
			if _, err := w.Write(block); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	case "chunked":
		w.Header().Set("Trailer", "X-Trailer")
		for _, part := range []string{"hello ", "chunked ", "world\n"} {
			w.Write([]byte(part))
			w.ResponseWriter.(http.Flusher).Flush()
		}
		w.Header().Set("X-Trailer", "yes")
	case "empty":
		w.WriteHeader(204)
	case "error":
		http.Error(w, "broken", 500)
	case "echo":
		n, err := io.Copy(io.Discard, req.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "%d\n", n)
	case "close":
		w.raw("200", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+strings.Repeat("y", 5000)).Close()
	case "upgrade":
		conn := w.raw("101", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		defer conn.Close()
		// Not io.Copy: it would splice, and the suite wants plain calls here.
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			conn.Write(buf[:n])
		}
	case "cut", "reset":
		conn := w.raw("200", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"+strings.Repeat("z", 500))
		if verb == "reset" {
			conn.Read(make([]byte, 1)) // The client says that it has the first half.
			conn.SetLinger(0)
		}
		conn.Close()
	case "drop":
		w.raw("-", "").Close()
	default:
		http.Error(w, "no such verb", 404)
	}
}

func serve(port, path string) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	var lock sync.Mutex
	handler := func(w http.ResponseWriter, req *http.Request) {
		rec := &recorder{w, "-"}
		defer func() {
			lock.Lock()
			fmt.Fprintf(file, "%s %s %s\n", req.Method, req.URL.Path, rec.status)
			lock.Unlock()
		}()
		answer(rec, req)
	}
	server := &http.Server{Addr: ":" + port, Handler: http.HandlerFunc(handler),
		ErrorLog: log.New(io.Discard, "", 0)}
	log.Fatal(server.ListenAndServe())
}

func chain(port, name string, routes []string) {
	next := map[string]string{}
	for _, route := range routes {
		if at := strings.Index(route, "="); at > 0 {
			next[route[:at]] = route[at+1:]
		}
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	client := &http.Client{Transport: transport}
	handler := func(w http.ResponseWriter, req *http.Request) {
		route := strings.SplitN(req.URL.Path, "/", 4)[2]
		base, more := next[route]
		if !more {
			fmt.Fprintln(w, name)
			return
		}
		out, err := http.NewRequest("GET", base+req.URL.Path, nil)
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		for key, values := range req.Header {
			low := strings.ToLower(key)
			if strings.HasPrefix(low, "x-b3-") || low == "b3" || low == "x-request-id" {
				out.Header[key] = values
			}
		}
		answer, err := client.Do(out)
		if err != nil {
			http.Error(w, err.Error(), 502)
			return
		}
		defer answer.Body.Close()
		fmt.Fprint(w, name, " ")
		io.Copy(w, answer.Body)
	}
	log.Fatal(http.ListenAndServe(":"+port, http.HandlerFunc(handler)))
}

func main() {
	args := os.Args[1:]
	switch {
	case len(args) == 3 && args[0] == "serve":
		serve(args[1], args[2])
	case len(args) >= 3 && args[0] == "chain":
		chain(args[1], args[2], args[3:])
	default:
		log.Fatal("usage: goserver serve PORT LOG | chain PORT NAME [ROUTE=URL]...")
	}
}

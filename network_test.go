package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority makes a private certificate authority and a certificate of it for some names, as companies do.
func authority(t *testing.T, names ...string) (caPEM string, server tls.Certificate) {
	t.Helper()
	sign := func(template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	caKey, key := newKey(), newKey()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Example Corp Root"}, NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, NotAfter: time.Now().AddDate(0, 1, 0), DNSNames: names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der := sign(ca, ca, caKey, caKey)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		tls.Certificate{Certificate: [][]byte{sign(leaf, ca, key, caKey)}, PrivateKey: key}
}

// listenTLS starts servers with a certificate.
func listenTLS(cert tls.Certificate) func(http.Handler) *httptest.Server {
	return func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // who does not trust us says so himself
		s.StartTLS()
		return s
	}
}

// TestPrivateAuthority: a GitLab whose certificate is of a company's own authority is refused with what to do, and works once
// the authority is entered: the API, the fetch over git, the reports and the test of the hook.
func TestPrivateAuthority(t *testing.T) {
	t.Parallel()
	ca, cert := authority(t, "gitlab.test")
	r := newRigOn(t, listenTLS(cert)).serve()
	link := map[string]any{"api_url": r.gitlab.URL + "/scm", "token": r.token}
	if code, raw := r.api("PUT", "/integration", link); code != 422 || !strings.Contains(string(raw), "CA certificate") {
		t.Errorf("without the authority: %d %s", code, raw)
	}
	other, _ := authority(t, "elsewhere.test")
	link["ca_pem"] = other
	if code, _ := r.api("PUT", "/integration", link); code != 422 {
		t.Errorf("with another authority: %d", code)
	}
	link["ca_pem"] = ca
	r.must("PUT", "/integration", link, 200)
	r.stack("network", "infra", nil)
	sha := r.push("feature", "One", map[string]string{"infra/main.tf": resource("a", "1")})
	r.status(sha, "groundcrew/network", "success")
	if got := r.must("POST", "/projects/"+projectID(r)+"/hook/test", nil, 200); !strings.Contains(got["message"].(string), "arrived") {
		t.Errorf("the test of the hook: %v", got)
	}
	if packs, archives := r.fetches(); packs != 1 || archives != 0 {
		t.Errorf("%d packs and %d archives", packs, archives)
	}
	r.quiet()
	r.unrefused()
}

// A connector is an HTTP proxy that does CONNECT and nothing else, and sends every tunnel to one address.
type connector struct {
	to string

	mu    sync.Mutex
	asked []string // hosts, in order
}

func (c *connector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.asked = append(c.asked, r.Method+" "+r.Host)
	c.mu.Unlock()
	if r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	out, err := net.Dial("tcp", c.to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer out.Close()
	w.WriteHeader(http.StatusOK)
	in, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer in.Close()
	go func() {
		_, _ = io.Copy(out, buffered) // either side may end the tunnel
		_ = out.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(in, out)
}

func (c *connector) seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

// TestProxy: where GitLab is reached through a company's proxy alone, the API and git both go through it, as HTTPS_PROXY says;
// a GitLab that NO_PROXY names is called directly.
func TestProxy(t *testing.T) {
	t.Parallel()
	ca, cert := authority(t, "gitlab.test")
	r := newRigOn(t, listenTLS(cert))
	r.sim.SetURL("https://gitlab.test")
	through := &connector{to: strings.TrimPrefix(r.gitlab.URL, "https://")}
	proxy := httptest.NewServer(through)
	t.Cleanup(func() { proxy.CloseClientConnections(); proxy.Close() })
	link := map[string]any{"api_url": "https://gitlab.test/scm", "token": r.token, "ca_pem": ca}

	r.env = []string{"HTTPS_PROXY=" + proxy.URL, "NO_PROXY=gitlab.test", "no_proxy=gitlab.test", "https_proxy=" + proxy.URL}
	r.spawn()
	if code, raw := r.api("PUT", "/integration", link); code != 422 || !strings.Contains(string(raw), "reachable") {
		t.Errorf("without the proxy nobody knows gitlab.test: %d %s", code, raw)
	}
	if n := through.seen(); len(n) != 0 {
		t.Errorf("the proxy was asked in spite of NO_PROXY: %v", n)
	}
	r.kill()

	r.env = []string{"HTTPS_PROXY=" + proxy.URL, "NO_PROXY=localhost", "no_proxy=localhost", "https_proxy=" + proxy.URL}
	r.spawn()
	r.must("PUT", "/integration", link, 200)
	r.stack("network", "infra", nil)
	sha := r.push("feature", "One", map[string]string{"infra/main.tf": resource("a", "1")})
	r.status(sha, "groundcrew/network", "success")
	r.quiet()
	for _, host := range through.seen() {
		if host != "CONNECT gitlab.test:443" {
			t.Errorf("the proxy was asked for %s", host)
		}
	}
	if packs, _ := r.fetches(); packs != 1 || len(through.seen()) == 0 {
		t.Errorf("%d packs, tunnels %v", packs, through.seen())
	}
	r.unrefused()
}

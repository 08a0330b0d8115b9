package runner_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"hooktrail/adapters/runner"
	"hooktrail/application"
)

// counting is a server that must not be reached, or tells how often it was.
func counting(t *testing.T) (*httptest.Server, *atomic.Int64) {
	calls := new(atomic.Int64)
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		echoAnswer(w, r)
	}), calls
}

func TestHTTPRefusesPrivateAddresses(t *testing.T) {
	server, calls := counting(t)
	port := server.Listener.Addr().(*net.TCPAddr).Port
	onlyV4 := loopback[:1]
	for _, c := range []struct {
		host  string
		allow []netip.Prefix
	}{
		{"127.0.0.1", nil},
		{"127.9.9.9", nil},
		{"localhost", nil},
		{"[::1]", nil},
		{"[::1]", onlyV4},
		{"[::ffff:127.0.0.1]", nil},
		{"[::ffff:7f00:1]", nil},
		{"[::ffff:169.254.169.254]", loopback},
		{"[64:ff9b::127.0.0.1]", loopback},
		{"[2002:7f00:1::]", loopback},
		{"169.254.169.254", nil},
		{"169.254.169.254", loopback},
		{"10.255.255.1", loopback},
		{"172.16.0.1", loopback},
		{"192.168.0.1", loopback},
		{"100.64.0.1", loopback},
		{"0.0.0.0", loopback},
		{"[::]", nil},
		{"[fe80::1]", loopback},
		{"[fd00::1]", loopback},
		{"[fd00:ec2::254]", loopback},
		{"224.0.0.1", loopback},
		{"255.255.255.255", loopback},
		{"127.0.0.1", []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}},
	} {
		t.Run(fmt.Sprint(c.host, c.allow), func(t *testing.T) {
			h := newHTTP(t, runner.HTTPConfig{AllowPrivate: c.allow})
			_, err := h.Run(t.Context(), httpRun(fmt.Sprintf("http://user:hunter2@%s:%d/path?code=hidden", c.host, port)))
			failed := requireRunError(t, err, application.RunAddressRefused, true)
			require.Contains(t, failed.Message, strings.Trim(c.host, "[]"))
			require.Contains(t, failed.Message, "HOOKTRAIL_ALLOW_PRIVATE_AGENTS")
			require.NotContains(t, failed.Message, "hunter2")
			require.NotContains(t, failed.Message, "hidden")
		})
	}
	require.Zero(t, calls.Load())
}

func TestHTTPReachesAllowedPrivateAddresses(t *testing.T) {
	server, calls := counting(t)
	port := server.Listener.Addr().(*net.TCPAddr).Port
	mapped := []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:127.0.0.0"), 104)}
	for _, c := range []struct {
		host  string
		allow []netip.Prefix
	}{
		{"127.0.0.1", loopback}, {"localhost", loopback}, {"[::ffff:127.0.0.1]", loopback}, {"127.0.0.1", mapped},
	} {
		before := calls.Load()
		_, err := newHTTP(t, runner.HTTPConfig{AllowPrivate: c.allow}).Run(t.Context(), httpRun(fmt.Sprintf("http://%s:%d/", c.host, port)))
		require.NoError(t, err, "%s %v", c.host, c.allow)
		require.Equal(t, before+1, calls.Load())
	}
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6 loopback")
	}
	v6 := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(echoAnswer)}}
	v6.Start()
	t.Cleanup(v6.Close)
	_, err = newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback}).Run(t.Context(), httpRun(v6.URL))
	require.NoError(t, err)
}

// TestMain sets proxies in the environment. Were one used, the refused address would not be
// dialled and the error would be that the proxy cannot be reached.
func TestHTTPIgnoresProxiesOfTheEnvironment(t *testing.T) {
	request, err := http.NewRequest(http.MethodPost, "http://10.255.255.1/", nil)
	require.NoError(t, err)
	proxy, err := http.ProxyFromEnvironment(request)
	require.NoError(t, err)
	require.NotNil(t, proxy, "the test needs a proxy in its environment")
	_, err = newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback}).Run(t.Context(), httpRun(request.URL.String()))
	requireRunError(t, err, application.RunAddressRefused, true)
}

func TestHTTPFollowsRedirectsOnOneHost(t *testing.T) {
	verifier, err := standardwebhooks.NewWebhook(signingSecret)
	require.NoError(t, err)
	var hops atomic.Int64
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var left, status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d/%d", &left, &status)
		if left > 0 {
			hops.Add(1)
			w.Header().Set("Location", fmt.Sprintf("/%d/%d", left-1, status))
			w.WriteHeader(status)
			return
		}
		body, _ := io.ReadAll(r.Body)
		if err := verifier.Verify(body, r.Header); err != nil || r.Method != http.MethodPost || r.Header.Get("X-Team") != "blue" {
			t.Errorf("%s %v: %v", r.Method, r.Header, err)
		}
		_, _ = w.Write(body)
	})
	h := newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback})
	for _, status := range []int{307, 308} {
		for left := range 4 {
			run := httpRun(fmt.Sprintf("%s/%d/%d", server.URL, left, status))
			run.SigningSecret, run.Runner.Headers = signingSecret, map[string]string{"X-Team": "blue"}
			output, err := outputOf(h.Run(t.Context(), run))
			require.NoError(t, err)
			require.Equal(t, string(run.Input), string(output))
		}
		hops.Store(0)
		_, err := h.Run(t.Context(), httpRun(fmt.Sprintf("%s/4/%d", server.URL, status)))
		require.Contains(t, requireRunError(t, err, application.RunRedirectRefused, true).Message, "more than 3 times")
		require.EqualValues(t, 4, hops.Load())
	}
	for _, status := range []int{300, 301, 302, 303, 304} {
		_, err := h.Run(t.Context(), httpRun(fmt.Sprintf("%s/1/%d", server.URL, status)))
		require.Contains(t, requireRunError(t, err, application.RunRedirectRefused, true).Message, fmt.Sprint(status))
	}
}

func redirecting(t *testing.T, location string) *httptest.Server {
	return serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
}

func TestHTTPRefusesRedirectsToOtherHosts(t *testing.T) {
	other, calls := counting(t)
	port := other.Listener.Addr().(*net.TCPAddr).Port
	h := newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback})
	for _, location := range []string{
		other.URL + "/?token=hidden", // another port
		fmt.Sprintf("http://localhost:%d/?token=hidden", port),
		fmt.Sprintf("//localhost:%d/", port),
		"http://169.254.169.254/latest/meta-data/?token=hidden",
		"http://[::ffff:169.254.169.254]/",
		"http://user:hidden@agents.example/",
		"ftp://127.0.0.1/",
	} {
		run := httpRun(redirecting(t, location).URL)
		run.SigningSecret = signingSecret
		_, err := h.Run(t.Context(), run)
		failed := requireRunError(t, err, application.RunRedirectRefused, true)
		require.Contains(t, failed.Message, "on one host only")
		require.NotContains(t, failed.Message, "hidden")
	}
	require.Zero(t, calls.Load())
}

func TestHTTPTakesARedirectToHTTPSAndNoneBack(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(echoAnswer))
	t.Cleanup(secure.Close)
	h := newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback, TLS: trusting(secure)})
	output, err := outputOf(h.Run(t.Context(), httpRun(redirecting(t, secure.URL).URL)))
	require.NoError(t, err)
	require.Equal(t, `{"n": 1.10}`, string(output))

	plain, calls := counting(t)
	downgrading := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusPermanentRedirect))
	t.Cleanup(downgrading.Close)
	h = newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback, TLS: trusting(downgrading)})
	_, err = h.Run(t.Context(), httpRun(downgrading.URL))
	requireRunError(t, err, application.RunRedirectRefused, true)
	require.Zero(t, calls.Load())
}

func trusting(server *httptest.Server) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return &tls.Config{RootCAs: roots}
}

func TestHTTPUnreachableAgentsAreTriedAgain(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	silent := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	broken := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"half":`)
	})
	untrusted := httptest.NewUnstartedServer(http.HandlerFunc(echoAnswer))
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	h := newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback})
	for name, c := range map[string]struct{ url, want string }{
		"closed port":      {closed.URL, "connection refused"},
		"no answer":        {silent.URL, "closed the connection without an answer"},
		"half an answer":   {broken.URL, "broke off"},
		"not TLS":          {strings.Replace(broken.URL, "http:", "https:", 1), "does not speak TLS"},
		"certificate":      {untrusted.URL, "TLS certificate"},
		"no HTTP":          {notHTTP(t), "no valid HTTP answer"},
		"unreadable place": {redirecting(t, "http://%zz/?code=hidden").URL, "no valid HTTP answer"},
	} {
		t.Run(name, func(t *testing.T) {
			target, err := url.Parse(c.url)
			require.NoError(t, err)
			target.User, target.RawQuery = url.UserPassword("user", "hunter2"), "code=hidden"
			_, err = h.Run(t.Context(), httpRun(target.String()))
			failed := requireRunError(t, err, application.RunUnreachable, false)
			require.Contains(t, failed.Message, c.want)
			require.Contains(t, failed.Message, target.Hostname())
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, err.Error(), "hidden")
		})
	}
}

// notHTTP is a server of some other protocol.
func notHTTP(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(connection, "220 mail.example ESMTP hidden\r\n")
			_ = connection.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return "http://" + listener.Addr().String()
}

func TestHTTPErrorsHideWhatTheAgentQuotes(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, "no: %s %v", r.URL.RequestURI(), r.Header)
	})
	run := httpRun(strings.Replace(server.URL, "://", "://user:hunter2@", 1) + "/?code=hidden%20query")
	run.SigningSecret = signingSecret
	run.Runner.Headers = map[string]string{"X-Token": "Bearer tok_123456", "X-Other": "tok_123456_and_more"}
	_, err := newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback}).Run(t.Context(), run)
	failed := requireRunError(t, err, application.RunAgentFailed, true)
	require.Contains(t, failed.Message, "[redacted]")
	require.Contains(t, failed.Message, "Execution-Id:[execution-1]")
	for _, secret := range []string{"tok_123456", "and_more", "hidden", "hunter2", "dXNlcjpodW50ZXIy", "v1,", signingSecret} {
		require.NotContains(t, failed.Message, secret)
	}
}

func TestHTTPCloseLeavesNothingRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	server := httptest.NewServer(http.HandlerFunc(echoAnswer))
	h := runner.NewHTTP(runner.HTTPConfig{AllowPrivate: loopback})
	_, err := h.Run(t.Context(), httpRun(server.URL))
	require.NoError(t, err)
	h.Close()
	server.Close()
	goleak.VerifyNone(t, before)
}

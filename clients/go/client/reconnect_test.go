package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
)

// TestCloseCodes refuses a connection with each code, and wants the right thing to
// happen: which token comes after which pause, or nothing ever again.
func TestCloseCodes(t *testing.T) {
	const never = -1
	tests := map[protocol.CloseCode]struct {
		pause time.Duration
		token string
	}{
		protocol.CloseNormal:            {time.Second, "token-1"},
		protocol.CloseGoingAway:         {time.Second, "token-1"},
		protocol.CloseProtocolError:     {time.Second, "token-1"},
		protocol.CloseInvalidPayload:    {time.Second, "token-1"},
		protocol.ClosePolicy:            {time.Second, "token-1"},
		protocol.CloseTooBig:            {time.Second, "token-1"},
		protocol.CloseInternalError:     {time.Second, "token-1"},
		protocol.CloseTryLater:          {time.Second, "token-1"},
		protocol.CloseInactive:          {time.Second, "token-1"},
		protocol.CloseInvalidCredential: {time.Second, "token-2"},
		protocol.CloseExpired:           {0, "token-2"},
		protocol.CloseChannelNotCovered: {never, ""},
		protocol.CloseConnectionLimit:   {31 * time.Second, "token-1"},
		protocol.CloseMessageRate:       {time.Second, "token-1"},
		protocol.CloseSuspended:         {never, ""},
		protocol.CloseDisconnected:      {never, ""},
		4099:                            {time.Second, "token-1"}, // one that a later service may have
	}
	for _, info := range protocol.CloseCodes() {
		if _, ok := tests[info.Code]; !ok {
			t.Errorf("no case for close code %d", info.Code)
		}
	}
	for code, tt := range tests {
		for _, live := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d, welcomed %v", code, live), func(t *testing.T) {
				bubble(t, func(t *testing.T, f *fake) {
					c := f.client()
					p := f.accept()
					if live {
						p.say(`{"type":"welcome","peerId":"a","expiresAt":null}`)
					}
					p.shut(code)
					at := time.Now()
					if tt.pause == never {
						<-c.Done()
						if got := CloseCodeOf(c.Err()); got != code {
							t.Errorf("the client stopped with %v, want close code %d", c.Err(), code)
						}
						if !strings.HasSuffix(f.states(), "stopped") {
							t.Errorf("states: %s", f.states())
						}
						wantErr(t, c.Publish(t.Context(), "c", 1), c.Err())
						return
					}
					p = f.accept()
					if got := time.Since(at); got != tt.pause || p.bearer != tt.token {
						t.Errorf("%q came after %v, want %q after %v", p.bearer, got, tt.token, tt.pause)
					}
				})
			})
		}
	}
}

func TestASecondRefusedTokenStopsTheClient(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		f.accept().shut(protocol.CloseInvalidCredential)
		p := f.accept()
		p.shut(protocol.CloseInvalidCredential)
		<-c.Done()
		if CloseCodeOf(c.Err()) != 4001 || p.bearer != "token-2" {
			t.Errorf("after %q: %v", p.bearer, c.Err())
		}
		if want := "connecting, waiting 1s, connecting, stopped"; f.states() != want {
			t.Errorf("states: %s, want %s", f.states(), want)
		}
	})
}

// A key is rotated twice, with a welcome in between: each time a new token helps.
func TestAWelcomeForgivesARefusedToken(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		f.client()
		f.welcome().shut(protocol.CloseInvalidCredential)
		f.welcome().shut(protocol.CloseInvalidCredential)
		if p := f.welcome(); p.bearer != "token-3" {
			t.Errorf("connects with %q, want token-3", p.bearer)
		}
	})
}

func TestAPublishableKey(t *testing.T) {
	with := func(o *Options) { o.Token, o.PublishableKey = nil, "pk_live_1 &2" }
	t.Run("is in the URL", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			f.client(with)
			if p := f.accept(); p.uri != "/v1?key=pk_live_1+%262" || p.bearer != "" {
				t.Errorf("connects to %s with %q", p.uri, p.bearer)
			}
		})
	})
	t.Run("there is no other to get", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			c := f.client(with)
			f.accept().shut(protocol.CloseInvalidCredential)
			<-c.Done()
			if CloseCodeOf(c.Err()) != 4001 {
				t.Error(c.Err())
			}
		})
	})
}

// A token server whose clock is wrong signs tokens that have expired already: one is
// replaced at once, not all of them as fast as the network goes.
func TestTokensThatComeExpired(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		f.client()
		var pauses []string
		at := time.Now()
		for n := range 5 {
			p := f.accept()
			if want := fmt.Sprintf("token-%d", n+1); p.bearer != want {
				t.Errorf("connects with %q, want %q", p.bearer, want)
			}
			pauses = append(pauses, time.Since(at).String())
			p.shut(protocol.CloseExpired)
			at = time.Now()
		}
		if got := strings.Join(pauses, " "); got != "0s 0s 1s 2s 4s" {
			t.Errorf("pauses: %s", got)
		}
	})
}

func TestPausesDoubleToAMinuteAndStartAgainAfterAGoodConnection(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		f.client()
		for n, want := range []time.Duration{0, 1, 2, 4, 8, 16, 32, 60, 60} {
			at := time.Now()
			conn := f.raw()
			if got := time.Since(at); got != want*time.Second {
				t.Errorf("pause %d is %v, want %v s", n, got, want)
			}
			_ = conn.Close() // in the middle of the handshake
		}
		p := f.welcome()
		for _, tt := range []struct{ lives, pause time.Duration }{
			{settled - 1, time.Minute}, // a connection that hardly lives is no better than none
			{settled, firstBound},
			{0, 2 * firstBound},
		} {
			synctest.Wait()
			time.Sleep(tt.lives) // the bubble's clock
			_ = p.Close()
			at := time.Now()
			p = f.welcome()
			if got := time.Since(at); got != tt.pause {
				t.Errorf("after a connection of %v the pause is %v, want %v", tt.lives, got, tt.pause)
			}
		}
	})
}

func TestGoingAway(t *testing.T) {
	tests := []struct {
		name  string
		frame string
		end   func(*peerConn) // of the connection
		back  time.Duration   // counted from the frame, whenever the end came
	}{
		{"closed at once", `{"type":"going_away","retryAfterMs":5000}`, after(0, shutAway), 5 * time.Second},
		{"closed later", `{"type":"going_away","retryAfterMs":5000}`, after(2*time.Second, shutAway), 5 * time.Second},
		{"cut", `{"type":"going_away","retryAfterMs":5000}`, after(3*time.Second, cut), 5 * time.Second},
		{"closed in the last moment", `{"type":"going_away","retryAfterMs":5000}`, after(5*time.Second-1, shutAway), 5 * time.Second},
		{"not closed: the client leaves", `{"type":"going_away","retryAfterMs":5000}`, answerClose, 5 * time.Second},
		{"not closed, and deaf", `{"type":"going_away","retryAfterMs":5000}`, after(0, func(*peerConn) {}), 5*time.Second + leaving},
		{"told twice: the later frame counts", `{"type":"going_away","retryAfterMs":1}` + "\n" + `{"type":"going_away","retryAfterMs":9000}`, after(2*time.Second, shutAway), 9 * time.Second},
		{"absurdly long", `{"type":"going_away","retryAfterMs":9223372036854775807}`, after(0, shutAway), maxAsked},
		{"negative", `{"type":"going_away","retryAfterMs":-1}`, after(0, shutAway), time.Second},
		{"without a time", `{"type":"going_away"}`, after(0, shutAway), time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				f.client()
				p := f.welcome()
				at := time.Now()
				for frame := range strings.SplitSeq(tt.frame, "\n") {
					p.say(frame)
				}
				tt.end(p)
				f.accept()
				if got := time.Since(at); got != tt.back {
					t.Errorf("the client is back %v after the frame, want %v", got, tt.back)
				}
			})
		})
	}
}

// after ends a connection by end when d is over (the bubble's clock).
func after(d time.Duration, end func(*peerConn)) func(*peerConn) {
	return func(p *peerConn) {
		time.Sleep(d)
		end(p)
	}
}

func shutAway(p *peerConn) { p.shut(protocol.CloseGoingAway) }

func cut(p *peerConn) { _ = p.Close() }

// answerClose waits until the client ends the connection.
func answerClose(p *peerConn) {
	if code := p.closeCode(); code != ws.StatusNormalClosure {
		p.t.Errorf("the client left with %d, want 1000", code)
	}
}

func TestRefusedBeforeTheUpgrade(t *testing.T) {
	const ours = `{"error":"rate_limited","message":"over 60 connects"}`
	tests := []struct {
		name   string
		answer string
		pause  time.Duration
		want   Error
	}{
		{"429", "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 20\r\nContent-Length: 53\r\n\r\n" + ours, 21 * time.Second,
			Error{Code: protocol.RateLimited, Message: "over 60 connects", Status: 429, RetryAfter: 20 * time.Second}},
		{"a proxy's 502", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\n<ht>", time.Second,
			Error{Message: "an answer that is not the service's; is the URL right?", Status: 502}},
		{"a Retry-After of days", "HTTP/1.1 503 X\r\nRetry-After: 1000000\r\nContent-Length: 0\r\n\r\n", maxAsked + time.Second,
			Error{Message: "an answer that is not the service's; is the URL right?", Status: 503, RetryAfter: 1000000 * time.Second}},
		{"404, and then nothing more", "HTTP/1.1 404 Not Found\r\n\r\n", time.Second,
			Error{Message: "an answer that is not the service's; is the URL right?", Status: 404}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				c := f.client()
				conn := f.raw()
				answered := make(chan struct{})
				go func() { // reads the request while it answers
					defer close(answered)
					buffer := make([]byte, 4096)
					_, _ = conn.Read(buffer)
					_, _ = conn.Write([]byte(tt.answer))
				}()
				<-answered
				_ = conn.Close()
				at := time.Now()
				f.accept()
				if got := time.Since(at); got != tt.pause {
					t.Errorf("the next attempt comes after %v, want %v", got, tt.pause)
				}
				refused, ok := errors.AsType[*Error](c.lastFailure())
				if !ok || *refused != tt.want {
					t.Errorf("the error is %#v, want %#v", refused, tt.want)
				}
			})
		})
	}
}

func (c *Client) lastFailure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest
}

// A link that dies without a word is noticed by the pings that stay away.
func TestSilence(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		f.client()
		p := f.welcome()
		for range 10 {
			time.Sleep(protocol.PingInterval)
			p.write(protocol.PingFrame)
			if pong, ok := p.next(); !ok || pong.Header.OpCode != ws.OpPong {
				t.Fatalf("the client answers a ping with %v", pong.Header)
			}
		}
		at := time.Now()
		p.gone()
		if got := time.Since(at); got != protocol.InactivityLimit {
			t.Errorf("a silent connection was given up after %v, want 75 s", got)
		}
		f.accept()
	})
}

func TestNoWelcome(t *testing.T) {
	for name, first := range map[string]string{
		"silence": "", "another frame": `{"type":"ack","requestId":"1"}`, "garbage": "\x00", "a fragment of JSON": `{"type":"wel`,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				f.client()
				at := time.Now()
				p := f.accept()
				limit := time.Duration(0)
				if first == "" {
					limit = handshakeTimeout
				} else {
					p.say(first)
				}
				p.gone()
				if got := time.Since(at); got != limit {
					t.Errorf("given up after %v, want %v", got, limit)
				}
				f.welcome()
				if want := "connecting, waiting 1s, connecting, connected, live"; f.states() != want {
					t.Errorf("states: %s, want %s", f.states(), want)
				}
			})
		})
	}
}

func TestTokenProviders(t *testing.T) {
	failure := errors.New("the token server is down")
	const canary = "canary-in-a-token"
	tests := []struct {
		name   string
		answer func(n int) (string, error)
		want   string // in the last error
	}{
		{"fails", func(int) (string, error) { return "", failure }, "the token server is down"},
		{"empty", func(int) (string, error) { return "", nil }, "it is empty"},
		{"a header injected", func(int) (string, error) { return canary + "\r\nX-Evil: 1", nil }, "byte 0x0D at 17"},
		{"a trailing newline", func(int) (string, error) { return canary + "\n", nil }, "byte 0x0A at 17"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				asked := 0
				opt := func(o *Options) {
					o.Token = func(context.Context) (string, error) {
						if asked++; asked < 4 {
							return tt.answer(asked)
						}
						return "good", nil
					}
				}
				at := time.Now()
				c := f.client(opt)
				if p := f.welcome(); p.bearer != "good" || time.Since(at) != 7*time.Second {
					t.Errorf("connects with %q after %v, want the good one after 1+2+4 s", p.bearer, time.Since(at))
				}
				if err := fmt.Sprint(c.lastFailure()); !strings.Contains(err, tt.want) || strings.Contains(err, canary) {
					t.Errorf("the error is %s, want one with %q and without the token", err, tt.want)
				}
				if strings.Contains(f.log.String(), canary) {
					t.Errorf("the log holds the token:\n%s", f.log.String())
				}
			})
		})
	}
	t.Run("hangs", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			c := f.client(func(o *Options) {
				o.Token = func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }
			})
			time.Sleep(tokenTimeout + firstBound)
			wantErr(t, c.lastFailure(), context.DeadlineExceeded)
		})
	})
	t.Run("says stop", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			c := f.client(func(o *Options) {
				o.Token = func(context.Context) (string, error) { return "", fmt.Errorf("the device is retired: %w", ErrStop) }
			})
			<-c.Done()
			wantErr(t, c.Err(), ErrStop)
		})
	})
	t.Run("has one only", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			c := f.client(func(o *Options) { o.Token = StaticToken("the-one") })
			_ = f.welcome().Close()
			p := f.welcome()
			if p.bearer != "the-one" {
				t.Errorf("reconnects with %q", p.bearer)
			}
			p.shut(protocol.CloseExpired)
			<-c.Done()
			wantErr(t, c.Err(), ErrStop)
			if CloseCodeOf(c.Err()) != protocol.CloseExpired {
				t.Errorf("the error %v does not say why another token was needed", c.Err())
			}
		})
	})
}

func TestDial(t *testing.T) {
	t.Run("waits for the welcome", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			go func() { _ = f.raw().Close(); f.welcome() }()
			c, err := Dial(t.Context(), f.options())
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		})
	})
	t.Run("says why the last attempt failed", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			opt := f.options()
			down := errors.New("no route to host")
			opt.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, down }
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := Dial(ctx, opt)
			wantErr(t, err, context.DeadlineExceeded)
			wantErr(t, err, down)
		})
	})
	t.Run("does not wait for a hopeless case", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			go func() { f.accept().shut(protocol.CloseSuspended) }()
			_, err := Dial(t.Context(), f.options())
			if CloseCodeOf(err) != protocol.CloseSuspended {
				t.Error(err)
			}
		})
	})
}

func TestOptions(t *testing.T) {
	token := StaticToken("t")
	for _, tt := range []struct {
		name string
		opt  Options
		want string // in the error; "" the address
		url  string
	}{
		{"http", Options{URL: "http://h:8080", Token: token}, "", "ws://h:8080/v1"},
		{"https", Options{URL: "https://h/", Token: token}, "", "wss://h/v1"},
		{"wss with the whole path", Options{URL: "wss://h/v1", Token: token}, "", "wss://h/v1"},
		{"a path before it", Options{URL: "ws://h/a/b/v1/", Token: token}, "", "ws://h/a/b/v1"},
		{"IPv6", Options{URL: "http://[::1]:80", Token: token}, "", "ws://[::1]:80/v1"},
		{"no credential", Options{URL: "http://h"}, "need a Token or a PublishableKey", ""},
		{"two credentials", Options{URL: "http://h", Token: token, PublishableKey: "pk_1"}, "give one", ""},
		{"no URL", Options{Token: token}, "should be https", ""},
		{"another scheme", Options{URL: "ftp://h", Token: token}, `scheme is "ftp"`, ""},
		{"no host", Options{URL: "https:///v1", Token: token}, "a host", ""},
		{"a token in the URL", Options{URL: "https://h/v1?token=canary", Token: token}, "options of their own", ""},
		{"a password in the URL", Options{URL: "https://u:canary@h", Token: token}, "options of their own", ""},
		{"a malformed URL", Options{URL: "https://h/%zzcanary", Token: token}, "malformed", ""},
		{"a negative rate", Options{URL: "https://h", Token: token, FramesPerSecond: -1}, "must be positive", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.opt.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
			c, err := New(tt.opt)
			if err == nil {
				defer c.Close()
				if tt.want != "" || c.address != tt.url {
					t.Errorf("connects to %s; want %s%s", c.address, tt.url, tt.want)
				}
				return
			}
			if tt.want == "" || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("the error is %v; want %q, and no secret in it", err, tt.want)
			}
		})
	}
}

package aws

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// function is a bootstrap that runs, and the Lambda Runtime API that it talks to.
// Like Lambda it is given one event at a time.
type function struct {
	t       testing.TB
	process *exec.Cmd
	ended   chan struct{}
	log     output

	invocations chan invocation
	answers     chan []byte // from …/response
	failures    chan string // from …/error and /runtime/init/error
	number      atomic.Int64
}

type invocation struct {
	id    string
	event []byte
}

// start starts a binary, through emulator if there is one, with nothing in its
// environment but what Lambda sets and what environment says.
func start(t testing.TB, environment map[string]string, command ...string) *function {
	t.Helper()
	f := &function{
		t: t, ended: make(chan struct{}),
		invocations: make(chan invocation), answers: make(chan []byte, 1), failures: make(chan string, 1),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", f.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", f.response)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", f.failure)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", f.failure)
	mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the function asked for %s %s, which is not in the Runtime API", r.Method, r.URL)
	})
	api := httptest.NewServer(mux)

	f.process = exec.Command(command[0], command[1:]...)
	f.process.Env = []string{
		"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(api.URL, "http://"),
		"AWS_LAMBDA_FUNCTION_NAME=fleetwire-test", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256", "AWS_EXECUTION_ENV=AWS_Lambda_provided.al2023",
		"_HANDLER=bootstrap", "LAMBDA_TASK_ROOT=/var/task", "AWS_REGION=eu-central-1", "TZ=:UTC",
	}
	for name, value := range environment {
		f.process.Env = append(f.process.Env, name+"="+value)
	}
	f.process.Stderr, f.process.Stdout = &f.log, &f.log
	if err := f.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(f.ended)
		_ = f.process.Wait()
	}()
	t.Cleanup(func() {
		_ = f.process.Process.Kill()
		<-f.ended
		api.Close()
		if t.Failed() {
			t.Logf("the function's log:\n%s", &f.log)
		}
		if strings.Contains(f.log.String(), secretTip) {
			t.Errorf("the function's log has a secret:\n%s", &f.log)
		}
	})
	return f
}

// next holds the request until there is an event, as Lambda does, which freezes
// the function meanwhile.
func (f *function) next(w http.ResponseWriter, r *http.Request) {
	select {
	case <-r.Context().Done():
	case i := <-f.invocations:
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", i.id)
		w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(10*time.Second).UnixMilli(), 10))
		w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:123456789012:function:fleetwire-test")
		w.Header().Set("Lambda-Runtime-Trace-Id", "Root=1-67891233-abcdef012345678912345678;Sampled=0")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(i.event)
	}
}

func (f *function) response(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if want := strconv.FormatInt(f.number.Load(), 10); err != nil || r.PathValue("id") != want {
		f.t.Errorf("a response to %s, want one to %s (%v)", r.PathValue("id"), want, err)
	}
	w.WriteHeader(http.StatusAccepted)
	f.answers <- body
}

func (f *function) failure(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.WriteHeader(http.StatusAccepted)
	f.failures <- fmt.Sprintf("%s: %s", r.URL.Path, body)
}

// answer is a response event of any front door.
type answer struct {
	StatusCode        int
	StatusDescription string
	Headers           map[string]string
	MultiValueHeaders map[string][]string
	Body              string
	IsBase64Encoded   bool

	took time.Duration
}

// invoke gives the function an event and waits for its answer.
func (f *function) invoke(event []byte) answer {
	f.t.Helper()
	begin := time.Now()
	out, failed := f.try(event)
	if failed != "" {
		f.t.Fatalf("the function failed: %s", failed)
	}
	a := answer{took: time.Since(begin)}
	if err := json.Unmarshal(out, &a); err != nil {
		f.t.Fatalf("the answer %s: %v", out, err)
	}
	return a
}

// try is invoke for an event that may be none.
func (f *function) try(event []byte) (out []byte, failed string) {
	f.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	i := invocation{id: strconv.FormatInt(f.number.Add(1), 10), event: event}
	select {
	case f.invocations <- i:
	case <-f.ended:
		f.t.Fatalf("the function has ended: %s", f.process.ProcessState)
	case <-limit.C:
		f.t.Fatal("the function does not ask for events")
	}
	select {
	case out = <-f.answers:
	case failed = <-f.failures:
	case <-f.ended:
		f.t.Fatalf("the function ended without an answer: %s", f.process.ProcessState)
	case <-limit.C:
		f.t.Fatal("the function does not answer")
	}
	return out, failed
}

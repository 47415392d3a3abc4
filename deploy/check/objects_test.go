package check

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestChartsObjects(t *testing.T) {
	for name, text := range values {
		t.Run(name, func(t *testing.T) {
			o := read(t, text)
			if o.deployment == nil || o.budget == nil || o.account == nil || len(o.services) != 2 || o.notes == "" {
				t.Fatalf("something is missing: %+v", o)
			}
			checkPod(t, o)
			checkWiring(t, o)
			checkScaling(t, o)
		})
	}
	if all := read(t, values["all of it"]); all.autoscaler == nil || all.ingress == nil || all.monitor == nil {
		t.Errorf("all of it lacks something: %+v", all)
	}
}

// checkPod looks at how a node runs: not as root, without a file that it can write, and
// with time to drain.
func checkPod(t *testing.T, o objects) {
	pod := o.deployment.Spec.Template.Spec
	if len(pod.Containers) != 1 {
		t.Fatalf("%d containers", len(pod.Containers))
	}
	c := pod.Containers[0]
	security, inside := pod.SecurityContext, c.SecurityContext
	if security == nil || security.RunAsNonRoot == nil || !*security.RunAsNonRoot || security.RunAsUser == nil || *security.RunAsUser == 0 ||
		security.SeccompProfile == nil || security.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod's security context: %+v", security)
	}
	if inside == nil || inside.ReadOnlyRootFilesystem == nil || !*inside.ReadOnlyRootFilesystem ||
		inside.AllowPrivilegeEscalation == nil || *inside.AllowPrivilegeEscalation ||
		inside.Capabilities == nil || len(inside.Capabilities.Drop) != 1 || inside.Capabilities.Drop[0] != "ALL" {
		t.Errorf("the container's security context: %+v", inside)
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Error("the pod has a token for Kubernetes")
	}
	if c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.LivenessProbe.HTTPGet.Path != "/healthz" {
		t.Errorf("probes of %s and %s", c.ReadinessProbe.HTTPGet.Path, c.LivenessProbe.HTTPGet.Path)
	}
	drain, err := time.ParseDuration(variable(c, "FLEETWIRE_DRAIN"))
	if err != nil {
		t.Fatal(err)
	}
	grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
	sleep := time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
	// Deliveries of sinks take up to 15 s.
	if least := sleep + drain + 20*time.Second; grace < least {
		t.Errorf("a grace period of %v; want at least %v: a pause of %v, a drain of %v, and 20 s", grace, least, sleep, drain)
	}
	settings := documented(t)
	for _, e := range c.Env {
		if strings.HasPrefix(e.Name, "FLEETWIRE_") && !settings[e.Name] {
			t.Errorf("docs/operations.md has no setting %s", e.Name)
		}
	}
	mounts := map[string]string{}
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = m.MountPath
		if !m.ReadOnly || m.SubPath != "" {
			t.Errorf("%s is mounted writable, or with subPath", m.Name)
		}
	}
	if file := variable(c, "FLEETWIRE_APPS"); file != mounts["apps"]+"/apps.json" {
		t.Errorf("the apps document is %s, and its Secret at %s", file, mounts["apps"])
	}
}

func variable(c corev1.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// documented are the variables in the table of settings.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `-.*$").FindAllString(string(text), -1) {
		for _, name := range regexp.MustCompile("FLEETWIRE_[A-Z_]+").FindAllString(row, -1) {
			found[name] = true
		}
	}
	if len(found) < 10 {
		t.Fatalf("docs/operations.md has %d settings", len(found))
	}
	return found
}

// checkWiring follows each selector and each port to what it means.
func checkWiring(t *testing.T, o objects) {
	labels := o.deployment.Spec.Template.Labels
	selects := func(what string, selector map[string]string, of map[string]string) {
		if len(selector) == 0 {
			t.Errorf("%s selects everything", what)
		}
		for name, value := range selector {
			if of[name] != value {
				t.Errorf("%s selects %s=%s, which is %q", what, name, value, of[name])
			}
		}
	}
	selects("the Deployment", o.deployment.Spec.Selector.MatchLabels, labels)
	selects("the budget", o.budget.Spec.Selector.MatchLabels, labels)
	ports := map[string]int32{}
	for _, p := range o.deployment.Spec.Template.Spec.Containers[0].Ports {
		ports[p.Name] = p.ContainerPort
	}
	for name, s := range o.services {
		selects("service "+name, s.Spec.Selector, labels)
		if target := s.Spec.Ports[0].TargetPort.StrVal; len(s.Spec.Ports) != 1 || ports[target] == 0 {
			t.Errorf("service %s leads to %q, which no container has", name, target)
		}
	}
	if o.deployment.Spec.Template.Spec.ServiceAccountName != o.account.Name {
		t.Errorf("the account %s is not the pod's", o.account.Name)
	}
	front, operations := o.services["prod-fleetwire"], o.services["prod-fleetwire-ops"]
	if front == nil || operations == nil {
		t.Fatalf("services are %v", o.services)
	}
	if front.Spec.Ports[0].TargetPort.StrVal != "http" || operations.Spec.ClusterIP != "None" || !operations.Spec.PublishNotReadyAddresses {
		t.Errorf("services: %+v, %+v", front.Spec, operations.Spec)
	}
	if i := o.ingress; i != nil {
		backend := i.Spec.Rules[0].HTTP.Paths[0].Backend.Service
		if backend.Name != front.Name || backend.Port.Name != front.Spec.Ports[0].Name || i.Spec.TLS[0].Hosts[0] != i.Spec.Rules[0].Host {
			t.Errorf("the Ingress leads to %+v, with TLS for %v", backend, i.Spec.TLS)
		}
	}
	if m := o.monitor; m != nil {
		selects("the ServiceMonitor", m.Spec.Selector.MatchLabels, operations.Labels)
		if m.Spec.Endpoints[0].Port != operations.Spec.Ports[0].Name || front.Labels["app.kubernetes.io/component"] != "" {
			t.Errorf("the ServiceMonitor reads the port %s, or of both services", m.Spec.Endpoints[0].Port)
		}
	}
}

func checkScaling(t *testing.T, o objects) {
	a := o.autoscaler
	if (a == nil) == (o.deployment.Spec.Replicas == nil) {
		t.Fatalf("replicas %v with the autoscaler %v: each would undo the other", o.deployment.Spec.Replicas, a)
	}
	if a == nil {
		return
	}
	if a.Spec.ScaleTargetRef.Name != o.deployment.Name || a.Spec.ScaleTargetRef.Kind != "Deployment" {
		t.Errorf("scales %+v", a.Spec.ScaleTargetRef)
	}
	metric := a.Spec.Metrics[0].Pods.Metric.Name
	code, err := os.ReadFile("../../pkg/telemetry/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(code), `"`+metric+`"`) {
		t.Errorf("scales on %s, which a node does not export", metric)
	}
	down := a.Spec.Behavior.ScaleDown
	if *down.StabilizationWindowSeconds < 900 || down.Policies[0].Value != 1 || down.Policies[0].Type != "Pods" {
		t.Errorf("scales in with %+v; each node that goes disconnects its devices", down)
	}
}

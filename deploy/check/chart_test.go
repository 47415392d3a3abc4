package check

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

const chartDir = "../helm/fleetwire"

// values are what a user may write, with all that the chart can make.
var values = map[string]string{
	"as it is": ``,
	"all of it": `
image: {tag: v1.2.3, pullSecrets: [{name: registry}]}
redis: {tls: {existingSecret: redis-tls, clientCertificate: true}}
trustedProxies: [10.0.0.0/8, "fd00::/8"]
sinkNetworks: [10.20.0.0/16]
drainSeconds: 180
preStopSeconds: 15
extraEnv: [{name: SINK_SECRET, valueFrom: {secretKeyRef: {name: sinks, key: webhook}}}]
extraVolumes: [{name: sinks, secret: {secretName: sinks}}]
extraVolumeMounts: [{name: sinks, mountPath: /etc/sinks, readOnly: true}]
autoscaling: {enabled: true}
podDisruptionBudget: {maxUnavailable: 25%}
service: {type: LoadBalancer, annotations: {a: b}}
ingress: {enabled: true, host: fleet.example.com}
serviceMonitor: {enabled: true, labels: {release: prometheus}}
serviceAccount: {annotations: {a: b}}
podAnnotations: {a: b}
podLabels: {c: d}
nodeSelector: {disk: none}
tolerations: [{key: dedicated, operator: Exists}]
affinity: {nodeAffinity: {}}
priorityClassName: high
`,
	"on AWS with functions": "controlPlane: false\nautoscaling: {enabled: true, cpuUtilization: 0}\n",
}

// objects are what a release makes, each read by the type that Kubernetes reads it with.
type objects struct {
	deployment *appsv1.Deployment
	services   map[string]*corev1.Service
	account    *corev1.ServiceAccount
	budget     *policyv1.PodDisruptionBudget
	autoscaler *autoscalingv2.HorizontalPodAutoscaler
	ingress    *networkingv1.Ingress
	monitor    *monitoringv1.ServiceMonitor
	notes      string
}

// render renders the chart for a release.
func render(text string) (map[string]string, error) {
	c, err := loader.LoadDir(chartDir)
	if err != nil {
		return nil, err
	}
	given, err := chartutil.ReadValues([]byte(text))
	if err != nil {
		return nil, err
	}
	v, err := chartutil.ToRenderValues(c, given, chartutil.ReleaseOptions{Name: "prod", Namespace: "fleet", Revision: 1, IsInstall: true}, chartutil.DefaultCapabilities.Copy())
	if err != nil {
		return nil, err
	}
	return engine.Render(c, v)
}

// read reads all rendered objects strictly: a field that Kubernetes does not know fails.
func read(t *testing.T, text string) objects {
	t.Helper()
	files, err := render(text)
	if err != nil {
		t.Fatal(err)
	}
	o := objects{services: map[string]*corev1.Service{}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Base(name) == "NOTES.txt" {
			o.notes = files[name]
			continue
		}
		for document := range strings.SplitSeq(files[name], "\n---\n") {
			if strings.TrimSpace(document) == "" {
				continue
			}
			if err := o.add(document); err != nil {
				t.Errorf("%s: %v\n%s", name, err, document)
			}
		}
	}
	return o
}

func (o *objects) add(document string) error {
	var kind struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
		return err
	}
	var into any
	switch kind.APIVersion + " " + kind.Kind {
	case "apps/v1 Deployment":
		o.deployment = new(appsv1.Deployment)
		into = o.deployment
	case "v1 Service":
		s := new(corev1.Service)
		if err := yaml.UnmarshalStrict([]byte(document), s); err != nil {
			return err
		}
		o.services[s.Name] = s
		return nil
	case "v1 ServiceAccount":
		o.account = new(corev1.ServiceAccount)
		into = o.account
	case "policy/v1 PodDisruptionBudget":
		o.budget = new(policyv1.PodDisruptionBudget)
		into = o.budget
	case "autoscaling/v2 HorizontalPodAutoscaler":
		o.autoscaler = new(autoscalingv2.HorizontalPodAutoscaler)
		into = o.autoscaler
	case "networking.k8s.io/v1 Ingress":
		o.ingress = new(networkingv1.Ingress)
		into = o.ingress
	case "monitoring.coreos.com/v1 ServiceMonitor":
		o.monitor = new(monitoringv1.ServiceMonitor)
		into = o.monitor
	default:
		return fmt.Errorf("%+v is not expected", kind)
	}
	return yaml.UnmarshalStrict([]byte(document), into)
}

func TestChartIsLinted(t *testing.T) {
	for name, text := range values {
		given, err := chartutil.ReadValues([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range lint.All(chartDir, given, "fleet", true).Messages {
			// A chart without a picture is fine.
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

func TestChartRefusesValues(t *testing.T) {
	for text, want := range map[string]string{
		"replicas: 3":                                "replicas",
		"replicaCount: 0":                            "replicaCount",
		"drainSeconds: 1m":                           "drainSeconds",
		"drainSeconds: 7200":                         "drainSeconds",
		"trustedProxies: 10.0.0.0/8":                 "trustedProxies",
		"trustedProxies: [10.0.0.0]":                 "trustedProxies",
		"log: {level: verbose}":                      "level",
		"goMemoryLimit: 1740Mi":                      "goMemoryLimit",
		"apps: {existingSecret: \"\"}":               "existingSecret",
		"podDisruptionBudget: {maxUnavailable: 0}":   "maxUnavailable",
		"ingress: {annotations: {a: 90}}":            "annotations",
		"autoscaling: {connectionsPerNode: \"20k\"}": "connectionsPerNode",
	} {
		if _, err := render(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want an error that names %s", text, err, want)
		}
	}
}

// A field that Kubernetes does not know is found.
func TestReadingIsStrict(t *testing.T) {
	files, err := render("")
	if err != nil {
		t.Fatal(err)
	}
	document := files["fleetwire/templates/deployment.yaml"]
	for was, now := range map[string]string{"readinessProbe:": "readyProbe:", "periodSeconds: 5": "periodSeconds: often"} {
		changed := strings.Replace(document, was, now, 1)
		if changed == document {
			t.Fatalf("the Deployment has no %s", was)
		}
		if err := new(objects).add(changed); err == nil {
			t.Errorf("%s was not found", now)
		}
	}
}

// Renders a chart with Helm's own packages and holds each manifest to Kubernetes' own schemas, as `helm template` and a
// validator would. The programs themselves bring clients of clusters and registries along: two to three times as many
// packages to build.
//
//	helm CHART SCHEMAS    reads a JSON array of values from stdin, and writes one outcome for each
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

type outcome struct {
	Manifests []map[string]any `json:"manifests"`
	// Why Helm renders nothing.
	Refused string `json:"refused,omitempty"`
	// What Kubernetes would not take.
	Invalid []string `json:"invalid"`
}

func main() {
	var all []map[string]any
	must(json.NewDecoder(os.Stdin).Decode(&all))
	schemas := &schemas{folder: os.Args[2], read: map[string]*document{}}
	outcomes := []outcome{}
	for _, values := range all {
		outcomes = append(outcomes, render(os.Args[1], values, schemas))
	}
	must(json.NewEncoder(os.Stdout).Encode(outcomes))
}

func render(path string, values map[string]any, schemas *schemas) outcome {
	result := outcome{Manifests: []map[string]any{}, Invalid: []string{}}
	// Anew for each: what is rendered may change the chart's own values.
	chart, err := loader.Load(path)
	must(err)
	release := chartutil.ReleaseOptions{Name: "docs", Namespace: "search", Revision: 1, IsInstall: true}
	scope, err := chartutil.ToRenderValues(chart, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		result.Refused = err.Error()
		return result
	}
	files, err := engine.Render(chart, scope)
	if err != nil {
		result.Refused = err.Error()
		return result
	}
	names := []string{}
	for name := range files {
		if strings.HasSuffix(name, ".yaml") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		for _, text := range strings.Split("\n"+files[name], "\n---") {
			var manifest map[string]any
			if err := yaml.UnmarshalStrict([]byte(text), &manifest); err != nil {
				result.Invalid = append(result.Invalid, fmt.Sprintf("%s: %v", name, err))
			} else if manifest != nil {
				result.Manifests = append(result.Manifests, manifest)
				if err := schemas.validate(manifest); err != nil {
					result.Invalid = append(result.Invalid, fmt.Sprintf("%s: %v", name, err))
				}
			}
		}
	}
	return result
}

// The OpenAPI documents of a cluster, one for each group and version.
type schemas struct {
	folder string
	read   map[string]*document
}

type document struct {
	compiler *jsonschema.Compiler
	named    map[string]any
}

func (s *schemas) validate(manifest map[string]any) error {
	version, kind := fmt.Sprint(manifest["apiVersion"]), fmt.Sprint(manifest["kind"])
	document, err := s.of(version)
	if err != nil {
		return err
	}
	for name, schema := range document.named {
		if isOf(schema, version, kind) {
			compiled, err := document.compiler.Compile("openapi.json#/components/schemas/" + name)
			must(err)
			return compiled.Validate(manifest)
		}
	}
	return fmt.Errorf("%s has no %s", version, kind)
}

func (s *schemas) of(version string) (*document, error) {
	if found := s.read[version]; found != nil {
		return found, nil
	}
	folder := "apis"
	if !strings.Contains(version, "/") {
		folder = "api"
	}
	file, err := os.Open(filepath.Join(s.folder, folder, version+".json"))
	if err != nil {
		return nil, fmt.Errorf("nobody knows %s", version)
	}
	defer file.Close()
	openapi, err := jsonschema.UnmarshalJSON(file)
	must(err)
	named := openapi.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any)
	for _, schema := range named {
		// As the server does when it is strict: a field that it does not know is a mistake.
		if members := schema.(map[string]any); members["properties"] != nil {
			members["additionalProperties"] = false
		}
	}
	compiler := jsonschema.NewCompiler()
	must(compiler.AddResource("openapi.json", openapi))
	s.read[version] = &document{compiler, named}
	return s.read[version], nil
}

func isOf(schema any, version, kind string) bool {
	kinds, _ := schema.(map[string]any)["x-kubernetes-group-version-kind"].([]any)
	for _, one := range kinds {
		named := one.(map[string]any)
		full := strings.TrimPrefix(fmt.Sprint(named["group"], "/", named["version"]), "/")
		if full == version && named["kind"] == kind {
			return true
		}
	}
	return false
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A provider for tests: data "exec_run" executes a shell script while the plan is made, as hostile code would.
package main

import (
	"context"
	"log"
	"os/exec"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	dschema "github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
)

func main() {
	err := providerserver.Serve(context.Background(), func() provider.Provider { return hostile{} }, providerserver.ServeOpts{
		Address: "registry.terraform.io/hashicorp/exec",
	})
	if err != nil {
		log.Fatal(err)
	}
}

type hostile struct{}

func (hostile) Metadata(_ context.Context, _ provider.MetadataRequest, r *provider.MetadataResponse) {
	r.TypeName = "exec"
}

func (hostile) Schema(context.Context, provider.SchemaRequest, *provider.SchemaResponse) {}

func (hostile) Configure(context.Context, provider.ConfigureRequest, *provider.ConfigureResponse) {}

func (hostile) Resources(context.Context) []func() resource.Resource { return nil }

func (hostile) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{func() datasource.DataSource { return run{} }}
}

type run struct{}

func (run) Metadata(_ context.Context, _ datasource.MetadataRequest, r *datasource.MetadataResponse) {
	r.TypeName = "exec_run"
}

func (run) Schema(_ context.Context, _ datasource.SchemaRequest, r *datasource.SchemaResponse) {
	r.Schema = dschema.Schema{Attributes: map[string]dschema.Attribute{
		"script": dschema.StringAttribute{Required: true},
		"output": dschema.StringAttribute{Computed: true},
	}}
}

type model struct {
	Script string `tfsdk:"script"`
	Output string `tfsdk:"output"`
}

// Read executes the script with all that the plugin itself has.
func (run) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m struct {
		Script string  `tfsdk:"script"`
		Output *string `tfsdk:"output"`
	}
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	out, err := exec.CommandContext(ctx, "bash", "-c", m.Script).CombinedOutput()
	if err != nil {
		resp.Diagnostics.AddError("the script failed: "+err.Error(), string(out))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, model{m.Script, string(out)})...)
}

// Imports an OVA into a simulated vCenter with VMware's own client library, the one behind govc, Terraform and
// Packer, and prints the virtual machine that came of it.
//
//	import X.ova
//
// The way is the one that those tools take: the descriptor is the archive's first member, vCenter makes an import
// specification of it, and every file that it names is sent from the archive through the lease. The simulator
// does not read rasd:Address (the MAC) and takes any bytes for a disk.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/nfc"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/ovf"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func main() {
	log.SetFlags(0)
	log.SetOutput(io.Discard)
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: import X.ova")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "import:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	archive, err := read(path)
	if err != nil {
		return err
	}
	model := simulator.VPX()
	defer model.Remove()
	if err := model.Create(); err != nil {
		return err
	}
	// The upload goes by https only when the simulator is given a TLS configuration.
	model.Service.TLS = new(tls.Config)
	server := model.Service.NewServer()
	defer server.Close()

	ctx := context.Background()
	client, err := govmomi.NewClient(ctx, server.URL, true)
	if err != nil {
		return err
	}
	return deploy(ctx, client, archive)
}

// Member of the archive.
type member struct {
	name    string
	content []byte
}

func read(path string) ([]member, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var members []member
	for reader := tar.NewReader(file); ; {
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			return nil, err
		}
		members = append(members, member{header.Name, content})
	}
	if len(members) == 0 || !strings.HasSuffix(members[0].name, ".ovf") {
		return nil, fmt.Errorf("the first member is not the descriptor")
	}
	return members, nil
}

// Where the virtual machine goes: the simulator's defaults.
type target struct {
	pool   *object.ResourcePool
	store  *object.Datastore
	folder *object.Folder
	net    object.NetworkReference
}

func findTarget(ctx context.Context, client *govmomi.Client) (*target, error) {
	finder := find.NewFinder(client.Client)
	datacenter, err := finder.DefaultDatacenter(ctx)
	if err != nil {
		return nil, err
	}
	finder.SetDatacenter(datacenter)
	folders, err := datacenter.Folders(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := finder.ResourcePool(ctx, "DC0_H0/Resources")
	if err != nil {
		return nil, err
	}
	store, err := finder.DefaultDatastore(ctx)
	if err != nil {
		return nil, err
	}
	net, err := finder.Network(ctx, "DC0_DVPG0")
	if err != nil {
		return nil, err
	}
	return &target{pool, store, folders.VmFolder, net}, nil
}

func deploy(ctx context.Context, client *govmomi.Client, archive []member) error {
	to, err := findTarget(ctx, client)
	if err != nil {
		return err
	}
	descriptor := archive[0].content
	envelope, err := ovf.Unmarshal(bytes.NewReader(descriptor))
	if err != nil {
		return err
	}
	if envelope.VirtualSystem == nil || envelope.Network == nil || len(envelope.Network.Networks) == 0 {
		return fmt.Errorf("the descriptor has no virtual system or no network")
	}
	parameters := types.OvfCreateImportSpecParams{
		EntityName:       envelope.VirtualSystem.ID,
		DiskProvisioning: string(types.VirtualDiskTypeThin),
	}
	for _, network := range envelope.Network.Networks {
		parameters.NetworkMapping = append(parameters.NetworkMapping,
			types.OvfNetworkMapping{Name: network.Name, Network: to.net.Reference()})
	}
	spec, err := ovf.NewManager(client.Client).CreateImportSpec(ctx, string(descriptor), to.pool, to.store, parameters)
	if err != nil {
		return err
	}
	for _, fault := range append(spec.Error, spec.Warning...) {
		return fmt.Errorf("specification: %s", fault.LocalizedMessage)
	}
	if len(spec.FileItem) != len(envelope.References) {
		return fmt.Errorf("%d files are referenced, %d are asked for", len(envelope.References), len(spec.FileItem))
	}
	lease, err := to.pool.ImportVApp(ctx, spec.ImportSpec, to.folder, nil)
	if err != nil {
		return err
	}
	info, err := lease.Wait(ctx, spec.FileItem)
	if err != nil {
		return err
	}
	if err := upload(ctx, lease, info, archive); err != nil {
		return err
	}
	return show(ctx, object.NewVirtualMachine(client.Client, info.Entity), archive)
}

// Sends every file that the lease asks for.
func upload(ctx context.Context, lease *nfc.Lease, info *nfc.LeaseInfo, archive []member) error {
	// Before the upload: it reads the progress that the upload writes, and the upload waits for its reader.
	updater := lease.StartUpdater(ctx, info)
	defer updater.Done()
	if len(info.Items) == 0 {
		return fmt.Errorf("the lease asks for no file")
	}
	for _, item := range info.Items {
		content, err := named(archive, item.Path)
		if err != nil {
			return err
		}
		if item.Size != int64(len(content)) {
			return fmt.Errorf("%s has %d bytes, the descriptor says %d", item.Path, len(content), item.Size)
		}
		options := soap.Upload{ContentLength: item.Size}
		if err := lease.Upload(ctx, item, bytes.NewReader(content), options); err != nil {
			return err
		}
	}
	return lease.Complete(ctx)
}

func named(archive []member, name string) ([]byte, error) {
	for _, member := range archive {
		if member.name == name {
			return member.content, nil
		}
	}
	return nil, fmt.Errorf("%s is not in the archive", name)
}

// Prints the virtual machine as the simulated vCenter has it, and holds its disk against the header of the VMDK.
func show(ctx context.Context, vm *object.VirtualMachine, archive []member) error {
	var properties mo.VirtualMachine
	if err := vm.Properties(ctx, vm.Reference(), []string{"config"}, &properties); err != nil {
		return err
	}
	config := properties.Config
	fmt.Printf("name %s\nguest %s\nversion %s\ncpus %d\nmemory-mib %d\n", config.Name, config.GuestId, config.Version,
		config.Hardware.NumCPU, config.Hardware.MemoryMB)
	devices := object.VirtualDeviceList(config.Hardware.Device)
	for _, device := range devices {
		switch device := device.(type) {
		case *types.ParaVirtualSCSIController:
			fmt.Println("scsi pvscsi")
		case *types.VirtualVmxnet3:
			fmt.Println("nic vmxnet3")
		case *types.VirtualDisk:
			fmt.Printf("disk-kib %d\n", device.CapacityInKB)
			if err := sameCapacity(device.CapacityInKB, archive); err != nil {
				return err
			}
		}
	}
	return nil
}

func sameCapacity(kib int64, archive []member) error {
	for _, member := range archive {
		if strings.HasSuffix(member.name, ".vmdk") && len(member.content) >= 512 {
			sectors := binary.LittleEndian.Uint64(member.content[12:])
			if int64(sectors) != 2*kib {
				return fmt.Errorf("the disk has %d sectors, the descriptor says %d", sectors, 2*kib)
			}
		}
	}
	return nil
}

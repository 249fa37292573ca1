internal import Networks
internal import Platform
internal import Segmentation
internal import Tensors

/// A network as the pipeline sees it: a tile in, logits out. One per member and run; it owns that run's workspace.
final class NetworkTile: TileNetwork, @unchecked Sendable {
  private let network: Primus
  private let device: CPUDevice
  private let workspace: Workspace
  let inputChannels: Int
  var classes: Int { network.configuration.classes }

  init(_ network: Primus, channels: Int, device: CPUDevice, workspace: Workspace) {
    self.network = network
    self.device = device
    self.workspace = workspace
    inputChannels = channels
  }

  func logits(
    tile: UnsafePointer<Float>, height: Int, width: Int, into logits: UnsafeMutablePointer<Float>, control: RunControl
  ) throws(MedDINOError) {
    let images = try workspace.tensor("tile", [1, inputChannels, height, width])
    images.floats.baseAddress?.update(from: tile, count: images.count)
    let result = try network.logits(images, device: device, workspace: workspace, control: control)
    guard result.shape == [1, classes, height, width], let values = result.floats.baseAddress else {
      let patch = network.configuration.encoder.patchSize
      throw .shape("a tile of \(height) × \(width) is not a multiple of the patch size \(patch)")
    }
    logits.update(from: values, count: result.count)
  }
}

internal import Imaging
internal import Platform

/// The files of one training case in memory, in the types they are stored in.
struct LoadedCase {
  let images: [Volume]
  let labels: Volume

  /// Throws: what `VolumeFile.read` throws, with the path in the message.
  init(_ files: RawDataset.Case, reader: VolumeFile.Reader, in budget: MemoryBudget, control: RunControl) throws(MedDINOError) {
    var images: [Volume] = []
    for path in files.images { images.append(try VolumeFile.read(path, reader: reader, in: budget, control: control.branch(nil))) }
    self.images = images
    labels = try VolumeFile.read(files.label, reader: reader, in: budget, control: control.branch(nil))
  }
  init(images: [Volume], labels: Volume) {
    self.images = images
    self.labels = labels
  }

  var channelCount: Int { images.reduce(0) { $0 + $1.channels } }
  /// The volume and the index in it of every channel.
  var channels: [(volume: Volume, index: Int)] { images.flatMap { volume in (0..<volume.channels).map { (volume, $0) } } }
}

extension Volume {
  /// Slice `z` as rows of y and columns of x, restricted to a box, into dense float32.
  func readSlice(_ z: Int, channel: Int = 0, in box: VoxelBox, into out: UnsafeMutablePointer<Float>) {
    readPlane(
      axis: 2, index: z, rowAxis: 1, rows: box.lower[1]..<box.upper[1], columnAxis: 0, columns: box.lower[0]..<box.upper[0],
      channel: channel, into: out)
  }
}

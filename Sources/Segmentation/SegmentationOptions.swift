public import Imaging

/// How a segmentation is run. Every default is what the official pipeline does.
public struct SegmentationOptions: Equatable, Sendable {
  /// Distance of neighbouring tiles as a part of the tile, above 0 and at most 1.
  public var tileStep = 0.5
  /// Axes of the tile to mirror for test-time averaging: 0 = rows, 1 = columns; [] turns it off.
  public var mirrorAxes = [0, 1]
  /// Voxels along x, y, z that are wanted. Labels inside are those of the full run, outside they are 0; only the slices and tiles that
  /// matter are computed.
  public var regionOfInterest: VoxelBox?
  /// Label values to keep; the others become 0.
  public var labelSubset: [Int]?
  /// Restricts the case to the body: the bounding box of voxels above -500 HU and 10 mm around it. It saves tiles, but changes what the
  /// network sees around the body, so labels may differ a little from a full run.
  public var bodyCrop = false
  public init() {}
}

/// What a run will take, before it is started.
public struct SegmentationEstimate: Equatable, Sendable {
  /// Bytes of the buffers of the pipeline at their peak, without the network's own, the input and the outputs.
  public var peakBytes: Int
  /// Tiles of all slices, each counted once.
  public var tiles: Int
  /// Network calls: tiles × members × mirrorings.
  public var networkCalls: Int
}

public import Imaging
public import Platform

/// The voxel order in which a model wants to see a volume: as stored, or turned to the closest canonical RAS axes when the
/// plan's reader does so. Only strides change; nothing is copied.
///
/// Source: pipeline specification 1.4 (NibabelIOWithReorient).
public struct VoxelOrientation: Sendable {
  /// For each new axis: the old axis and whether it runs backwards; nil: as stored.
  private let steps: [(axis: Int, reversed: Bool)]?
  private let dims: [Int]

  /// What the reader named in the plan does to a volume of this geometry; without a plan: nothing.
  /// Throws: `.invalid` when the directions are linearly dependent.
  public init(plan: Plan?, geometry: Geometry) throws(MedDINOError) {
    dims = geometry.dims
    steps = plan?.imageReader == "NibabelIOWithReorient" ? try geometry.orientation().steps(to: .ras) : nil
  }

  /// The same for a volume, which its own reader may have turned already. Throws: as above.
  public init(plan: Plan, volume: Volume) throws(MedDINOError) {
    try self.init(plan: volume.isReoriented ? nil : plan, geometry: volume.geometry)
  }

  public func apply(_ volume: Volume) -> Volume { steps.map { volume.rearranged($0) } ?? volume }
  public func apply(_ geometry: Geometry) -> Geometry { steps.map { geometry.rearranged($0) } ?? geometry }
  public func apply(_ box: VoxelBox) -> VoxelBox {
    guard let steps else { return box }
    return VoxelBox(
      lower: steps.map { $0.reversed ? dims[$0.axis] - box.upper[$0.axis] : box.lower[$0.axis] },
      upper: steps.map { $0.reversed ? dims[$0.axis] - box.lower[$0.axis] : box.upper[$0.axis] })
  }
}

public import Platform

/// NIfTI-1 and NIfTI-2 volumes: `.nii`, `.nii.gz`, and `.hdr` + `.img` pairs (each plain or gzipped), both byte orders.
///
/// Values stay in the type of the file; slope and intercept go into the volume. Whether a file is gzipped is seen from
/// its content. Geometry becomes LPS by the rules of one of nnU-Net's three readers, because they disagree on odd
/// headers.
/// Source: pipeline specification 1.4; NIfTI-1.1 and NIfTI-2 header definitions.
public enum NIfTI {
  /// Which reader's rules turn the header into a geometry. The raw value is nnU-Net's class name.
  public enum Reader: String, Sendable, CaseIterable {
    /// Voxel order of the file. The sform counts when its code is 1 or the qform's is 0, and its columns are orthogonal
    /// within 1e-4; otherwise the qform. Spacing = |pixdim|; a negative pixdim also reverses the direction of its axis.
    /// Metres and micrometres in `xyzt_units` are converted to mm.
    case simpleITK = "SimpleITKIO"
    /// Voxel order of the file. The sform counts when its code is above 0, else the qform, else a grid centred on the
    /// origin. Spacing = |pixdim|; units are taken as mm.
    case nibabel = "NibabelIO"
    /// As `nibabel`, then axes permuted and reversed to the closest RAS order. When that changes anything, spacing =
    /// lengths of the affine's columns as float32. Axes take their world axis in file order, as nibabel up to 5.3 does
    /// (5.4 starts with the strongest, which differs for some grids turned by more than 35 degrees).
    case nibabelReorient = "NibabelIOWithReorient"
  }

  /// A volume with what its header said beyond the geometry.
  public struct Image: Sendable {
    public var volume: Volume
    /// Voxel index to RAS mm for the axes of the file, three rows of four, by the reader's rule. Its column lengths may
    /// differ from the spacing in files whose sform and pixdim disagree.
    public var affine: [Double]
    /// Orientation of the file's axes.
    public var fileOrientation: AxisOrientation
    public var reader: Reader

    /// Whether the axes of `volume` are others than those of the file.
    public var isReordered: Bool { reader == .nibabelReorient && fileOrientation != .ras }

    /// A volume on the grid of `volume`, in the axis order of the file again.
    public func inFileOrder(_ result: Volume) -> Volume {
      isReordered ? result.rearranged(AxisOrientation.ras.steps(to: fileOrientation)) : result
    }
  }

  /// Reads a volume. Channels are the fourth axis; a trailing axis of length 1 is dropped.
  ///
  /// Units: spacing and origin in mm, LPS. A 2D file gets z = 1 and 999 times its larger spacing along z.
  /// Throws: `.format` for damaged or impossible headers and cut data, `.unsupported` for complex, RGB, 128-bit or
  /// bit-packed voxels, more than one axis beyond the third, or Analyze 7.5 files; `.io`, `.outOfMemory`, `.cancelled`.
  public static func read(
    _ path: String, reader: Reader = .simpleITK, in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) -> Volume {
    try readImage(path, reader: reader, in: budget, control: control).volume
  }

  /// As `read`, with the file's affine and orientation.
  public static func readImage(
    _ path: String, reader: Reader = .simpleITK, in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) -> Image {
    let source = try NIfTISource(path, control: control)
    let header = source.header
    let placement = try header.placement(reader, path)
    var geometry = placement.geometry
    let orientation: AxisOrientation
    do throws(MedDINOError) { orientation = try geometry.orientation() } catch {
      throw .format("\(path): the axes of the header are linearly dependent")
    }
    if reader == .nibabel || reader == .nibabelReorient && orientation == .ras { geometry.spacing = header.spacing }
    var volume = try source.readVoxels(geometry, in: budget, control: control)
    (volume.slope, volume.intercept) = try header.scaling(reader, path)
    volume.isPlane = header.rank == 2
    if reader == .nibabelReorient, orientation != .ras {
      volume = volume.rearranged(orientation.steps(to: .ras))
      volume.geometry.spacing = volume.geometry.spacing.map { Double(Float($0)) }
    }
    volume.isReoriented = reader == .nibabelReorient
    return Image(volume: volume, affine: placement.affine, fileOrientation: orientation, reader: reader)
  }
}

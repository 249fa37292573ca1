public import Platform

/// NIfTI-1 and NIfTI-2 volumes: `.nii`, `.nii.gz`, and `.hdr` + `.img` pairs (each plain or gzipped), both byte orders.
///
/// Values stay in the type of the file; slope and intercept go into the volume. Whether a file is gzipped is seen from
/// its content. Geometry becomes LPS by the rules of one of nnU-Net's three readers (`VolumeFile.Reader`), because they disagree on odd
/// headers.
/// Source: pipeline specification 1.4; NIfTI-1.1 and NIfTI-2 header definitions.
public enum NIfTI {
  /// Reads a volume. Channels are the fourth axis; a trailing axis of length 1 is dropped.
  ///
  /// Units: spacing and origin in mm, LPS. A 2D file gets z = 1 and 999 times its larger spacing along z.
  /// Throws: `.format` for damaged or impossible headers and cut data, `.unsupported` for complex, RGB, 128-bit or
  /// bit-packed voxels, more than one axis beyond the third, or Analyze 7.5 files; `.io`, `.outOfMemory`, `.cancelled`.
  public static func read(
    _ path: String, reader: VolumeFile.Reader = .simpleITK, in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) -> Volume {
    try readImage(path, reader: reader, in: budget, control: control).volume
  }

  /// As `read`, with the file's affine and orientation.
  public static func readImage(
    _ path: String, reader: VolumeFile.Reader = .simpleITK, in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) -> VolumeFile.Image {
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
    return VolumeFile.Image(volume: volume, affine: placement.affine, fileOrientation: orientation, reader: reader)
  }
}

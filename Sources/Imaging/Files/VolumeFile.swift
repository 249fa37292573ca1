public import Platform

/// Volumes in files: NIfTI, NRRD and MetaImage. What a file is, its content says; what is written, the name's ending.
///
/// All three come as the same `Volume`: voxels in the type of the file, geometry in LPS mm. NRRD and MetaImage state their geometry in
/// full, so that nnU-Net's readers, which differ on odd NIfTI headers, differ on them only in the order of the axes.
/// Source: pipeline specification 1.4.
public enum VolumeFile {
  /// Which of nnU-Net's readers is followed. The raw value is its class name.
  public enum Reader: String, Sendable, CaseIterable {
    /// Voxel order of the file. Of a NIfTI file the sform counts when its code is 1 or the qform's is 0, and its columns are orthogonal
    /// within 1e-4; otherwise the qform. Spacing = |pixdim|; a negative pixdim also reverses the direction of its axis.
    /// Metres and micrometres in `xyzt_units` are converted to mm.
    case simpleITK = "SimpleITKIO"
    /// Voxel order of the file. Of a NIfTI file the sform counts when its code is above 0, else the qform, else a grid centred on the
    /// origin. Spacing = |pixdim|; units are taken as mm.
    case nibabel = "NibabelIO"
    /// As `nibabel`, then axes permuted and reversed to the closest RAS order. When that changes anything, the spacing of a NIfTI file =
    /// lengths of the affine's columns as float32. Axes take their world axis in file order, as nibabel up to 5.3 does
    /// (5.4 starts with the strongest, which differs for some grids turned by more than 35 degrees).
    case nibabelReorient = "NibabelIOWithReorient"
  }

  /// A volume with what its header said beyond the geometry.
  public struct Image: Sendable {
    public var volume: Volume
    /// Voxel index to RAS mm for the axes of the file, three rows of four, by the reader's rule. Its column lengths may
    /// differ from the spacing in NIfTI files whose sform and pixdim disagree.
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

  /// The kinds of files.
  public enum Format: Sendable, CaseIterable {
    case nifti, nrrd, metaImage
    /// Of names that are written, in lower case. Where one is the end of another, the longer comes first.
    public var endings: [String] {
      switch self {
      case .nifti: [".nii.gz", ".nii"]
      case .nrrd: [".nrrd", ".nhdr"]
      case .metaImage: [".mha", ".mhd"]
      }
    }
  }

  /// Of all formats.
  public static let endings = Format.allCases.flatMap(\.endings)
  /// Those of volumes that are one file: headers with their voxels in a second one are left out.
  public static let singleFileEndings = [".nii.gz", ".nii", ".nrrd", ".mha"]
  /// For messages: ".nii.gz, .nii, .nrrd, .nhdr, .mha or .mhd".
  public static let endingsInWords = words(endings)

  /// "a, b or c".
  public static func words(_ endings: [String], _ conjunction: String = "or") -> String {
    endings.count < 2 ? endings.joined() : endings.dropLast().joined(separator: ", ") + " \(conjunction) " + endings[endings.count - 1]
  }

  /// The ending of a file's or path's name, in lower case; nil when it is none of a volume, or all of the name.
  public static func ending(of name: String) -> String? {
    let lower = name.lowercased()
    return endings.first { lower.hasSuffix($0) && lower.utf8.count > $0.utf8.count && !lower.hasSuffix("/" + $0) }
  }

  /// A name without the ending of a volume; nil for other names.
  public static func stem(_ name: String) -> String? { ending(of: name).map { String(name.dropLast($0.count)) } }

  /// The one ending that the volumes of a folder have; nil without volumes.
  /// Throws: `.invalid` naming the endings when there are several, `.io`.
  public static func commonEnding(in folder: String) throws(MedDINOError) -> String? {
    let found = Set(try folderEntries(folder).compactMap { $0.hasPrefix(".") ? nil : ending(of: $0) })
    guard found.count <= 1 else {
      throw .invalid("\(folder): holds volumes ending in \(words(found.sorted(), "and")), expected one kind")
    }
    return found.first
  }

  /// What a file is by its first bytes; by its name where they do not say.
  static func format(of path: String) throws(MedDINOError) -> Format {
    guard FileKind.of(path) == .regular else { return .nifti }
    let file = try InputFile(path)
    let start = try file.bytes(at: 0, count: 8000)
    if NRRDHeader.isMagic(start) { return .nrrd }
    if MetaImageHeader.isHeader(start) { return .metaImage }
    if try GzipReader.isGzip(file) || NIfTIHeader.isHeader(start) { return .nifti }
    guard let ending = ending(of: path) else { return .nifti }
    return Format.allCases.first { $0.endings.contains(ending) } ?? .nifti
  }
}

extension VolumeFile {
  /// Reads a volume. Channels are the fourth axis of a NIfTI file (a trailing axis of length 1 is dropped), an NRRD's axis of another kind
  /// than a domain, the channels of a MetaImage's elements, or the fourth axis of either.
  ///
  /// Units: spacing and origin in mm, LPS. A 2D file gets z = 1 and 999 times its larger spacing along z.
  /// Throws: `.format` for damaged or impossible headers and cut data, `.unsupported` for what volumes cannot hold (complex, RGB or
  /// bit-packed voxels, more axes, Analyze 7.5) and for headers that name data files outside their folder; `.io`, `.outOfMemory`,
  /// `.cancelled`.
  public static func read(
    _ path: String, reader: Reader = .simpleITK, in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) -> Volume {
    try readImage(path, reader: reader, in: budget, control: control).volume
  }

  /// As `read`, with the file's affine and orientation.
  public static func readImage(
    _ path: String, reader: Reader = .simpleITK, in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) -> Image {
    let layout: VolumeLayout
    switch try format(of: path) {
    case .nifti: return try NIfTI.readImage(path, reader: reader, in: budget, control: control)
    case .nrrd: layout = try NRRDHeader(InputFile(path)).layout()
    case .metaImage: layout = try MetaImageHeader(InputFile(path)).layout()
    }
    let orientation = try layout.geometry.orientation()
    var volume = try layout.read(path, in: budget, control: control)
    if reader == .nibabelReorient, orientation != .ras { volume = volume.rearranged(orientation.steps(to: .ras)) }
    volume.isReoriented = reader == .nibabelReorient
    return Image(volume: volume, affine: layout.geometry.affineRAS, fileOrientation: orientation, reader: reader)
  }

  /// Writes a volume in the format of the name's ending, whole or not at all. Equal volumes give equal files.
  ///
  /// `.nii`, `.nii.gz`: as `NIfTI.write`. `.nrrd`, `.mha`: one compressed file. `.nhdr`, `.mhd`: a header, and beside it the compressed
  /// voxels, under the header's name with `.raw.gz` or `.zraw`; each of the two appears whole, the voxels first. bool is written as uint8,
  /// float16 and bfloat16 as float32; these formats know no slope, so that scaled values are written as float32 or float64.
  /// Throws: `.unsupported` for another ending, `.invalid` for an impossible geometry, `.io`, `.cancelled`.
  public static func write(_ volume: Volume, to path: String, control: RunControl? = nil) throws(MedDINOError) {
    switch ending(of: path) {
    case ".nii.gz", ".nii": try NIfTI.write(volume, to: path, control: control)
    case ".nrrd", ".nhdr": try NRRDWriter.write(volume, to: path, control: control)
    case ".mha", ".mhd": try MetaImageWriter.write(volume, to: path, control: control)
    default: throw .unsupported("\(path): the name must end in \(endingsInWords)")
    }
  }
}

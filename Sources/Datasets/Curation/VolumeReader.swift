public import Imaging
public import Platform

/// How volumes of a source are opened: the seam for further file formats.
public protocol VolumeReader: Sendable {
  /// The name of a file without its ending; nil for a file that holds no volume of this kind.
  func stem(_ fileName: String) -> String?
  /// Throws: `.format`, `.unsupported`, `.io`, `.outOfMemory`, `.cancelled`.
  func read(_ path: String, in budget: MemoryBudget, control: RunControl?) throws(MedDINOError) -> Volume
}

/// `.nii` and `.nii.gz`, by the rules of nibabel, which also opens sheared and uncoded headers.
public struct NIfTIVolumeReader: VolumeReader {
  public init() {}

  public func stem(_ fileName: String) -> String? {
    guard !fileName.hasPrefix(".") else { return nil }
    for ending in [".nii.gz", ".nii"] where fileName.hasSuffix(ending) && fileName.utf8.count > ending.utf8.count {
      return String(fileName.dropLast(ending.count))
    }
    return nil
  }

  public func read(_ path: String, in budget: MemoryBudget, control: RunControl?) throws(MedDINOError) -> Volume {
    try NIfTI.read(path, reader: .nibabel, in: budget, control: control)
  }
}

public import Imaging
public import Platform

/// How volumes of a source are opened: the seam for further file formats.
public protocol VolumeReader: Sendable {
  /// The name of a file without its ending; nil for a file that holds no volume of this kind.
  func stem(_ fileName: String) -> String?
  /// Throws: `.format`, `.unsupported`, `.io`, `.outOfMemory`, `.cancelled`.
  func read(_ path: String, in budget: MemoryBudget, control: RunControl?) throws(MedDINOError) -> Volume
}

/// NIfTI, NRRD and MetaImage, by their endings; NIfTI by the rules of nibabel, which also opens sheared and uncoded headers.
public struct ImageVolumeReader: VolumeReader {
  public init() {}

  public func stem(_ fileName: String) -> String? {
    fileName.hasPrefix(".") ? nil : VolumeFile.stem(fileName)
  }

  public func read(_ path: String, in budget: MemoryBudget, control: RunControl?) throws(MedDINOError) -> Volume {
    try VolumeFile.read(path, reader: .nibabel, in: budget, control: control)
  }
}

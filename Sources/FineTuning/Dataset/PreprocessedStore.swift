public import Platform
public import Segmentation

/// The preprocessed cases of one configuration: a folder with one file per case.
public struct PreprocessedStore: Sendable {
  public let folder: String
  public let configuration: Plan.Configuration
  public let scheme: LabelScheme
  static let ending = ".safetensors"

  public init(folder: String, configuration: Plan.Configuration, scheme: LabelScheme) {
    self.folder = folder
    self.configuration = configuration
    self.scheme = scheme
  }

  public func path(of identifier: String) -> String { folder + "/" + identifier + Self.ending }

  /// Cases that are there, sorted. Throws: `.io` when the folder is missing: the configuration was not preprocessed.
  public func identifiers() throws(MedDINOError) -> [String] {
    guard FileKind.of(folder) == .directory else {
      throw .io("\(folder): missing, the configuration \"\(configuration.name)\" has not been preprocessed")
    }
    return try folderEntries(folder).filter { $0.hasSuffix(Self.ending) }.map { String($0.dropLast(Self.ending.count)) }
      .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// Reads the header and the locations; slices are read when asked for. Throws: `.io`, `.format`, `.outOfMemory`.
  public func open(_ identifier: String, in budget: MemoryBudget) throws(MedDINOError) -> StoredCase {
    let path = path(of: identifier)
    let found = try StoredCase(path, scheme: scheme, in: budget)
    guard found.identifier == identifier else { throw .format("\(path): holds the case \(found.identifier)") }
    guard found.shape[0] == configuration.normalization.count else {
      throw .format("\(path): \(found.shape[0]) channels, the plan has \(configuration.normalization.count)")
    }
    return found
  }
}

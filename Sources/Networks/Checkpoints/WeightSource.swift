public import Platform
public import Tensors
public import WeightFiles

/// Named tensors of a file, read one at a time in their stored type.
public protocol WeightSource: Sendable {
  /// What errors call it.
  var label: String { get }
  /// In the order of the file.
  var names: [String] { get }
  func shape(of name: String) -> Shape?
  func dtype(of name: String) -> DType?
  /// Throws: `.format` for an unknown name, `.outOfMemory`, `.io`.
  func tensor(_ name: String, in budget: MemoryBudget) throws(MedDINOError) -> Tensor
}

extension SafeTensorsFile: WeightSource {
  public var label: String { source.name }
}

/// The tensors of one mapping inside a PyTorch archive. Values that are no tensors are left out.
struct TorchWeights: WeightSource {
  let archive: TorchArchive
  let names: [String]
  private let references: [String: TorchTensor]

  init(_ archive: TorchArchive, _ mapping: [(key: PickleValue, value: PickleValue)]) {
    var names: [String] = []
    var references: [String: TorchTensor] = [:]
    for (key, value) in mapping {
      guard let name = key.stringValue, let tensor = value.tensorValue else { continue }
      if references.updateValue(tensor, forKey: name) == nil { names.append(name) }
    }
    self.archive = archive
    self.names = names
    self.references = references
  }

  var label: String { archive.source.name }
  func shape(of name: String) -> Shape? { references[name]?.shape }
  func dtype(of name: String) -> DType? { references[name]?.dtype }
  func tensor(_ name: String, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    guard let reference = references[name] else { throw .format("\(label): no tensor \"\(name)\"") }
    return try archive.tensor(reference, in: budget)
  }
}

/// A model whose tensors are spread over several files, as HuggingFace stores large ones.
struct ShardedWeights: WeightSource {
  let label: String
  let names: [String]
  private let shards: [String: any WeightSource]

  /// Throws: `.format` when two files hold the same name.
  init(label: String, _ files: [any WeightSource]) throws(MedDINOError) {
    var names: [String] = []
    var shards: [String: any WeightSource] = [:]
    for file in files {
      for name in file.names {
        guard shards.updateValue(file, forKey: name) == nil else { throw .format("\(label): two files hold \"\(name)\"") }
        names.append(name)
      }
    }
    self.label = label
    self.names = names
    self.shards = shards
  }
  func shape(of name: String) -> Shape? { shards[name]?.shape(of: name) }
  func dtype(of name: String) -> DType? { shards[name]?.dtype(of: name) }
  func tensor(_ name: String, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    guard let shard = shards[name] else { throw .format("\(label): no tensor \"\(name)\"") }
    return try shard.tensor(name, in: budget)
  }
}

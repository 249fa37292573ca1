import Datasets
import Imaging
import Platform
import Tensors

/// Small volumes in the folder layouts that the benchmarks are published in.
struct MiniatureBenchmark {
  let root: String
  let budget = MemoryBudget()

  /// A volume of 4 × 3 × 2 voxels whose values start at `seed`, int16.
  func volume(_ path: String, seed: Int, labels: Bool = false) throws {
    var geometry = Geometry(dims: [4, 3, 2])
    geometry.spacing = [0.7, 0.8, 2.5]
    geometry.origin = [Double(seed), -4, 7]
    let volume = try Volume(allocating: labels ? .uint8 : .int16, channels: 1, geometry: geometry, in: budget, "miniature")
    for index in 0..<24 {
      if labels {
        volume.mutableBase.storeBytes(of: UInt8((seed + index) % 3), toByteOffset: index, as: UInt8.self)
      } else {
        volume.mutableBase.storeBytes(of: Int16(seed * 100 + index), toByteOffset: 2 * index, as: Int16.self)
      }
    }
    if let slash = path.lastIndex(of: "/") { try makeFolder(root + "/" + path[..<slash]) }
    try NIfTI.write(volume, to: root + "/" + path)
  }
  func pair(_ image: String, _ label: String, seed: Int) throws {
    try volume(image, seed: seed)
    try volume(label, seed: seed, labels: true)
  }
  func text(_ path: String, _ text: String) throws { try AtomicFile.write(Array(text.utf8), to: root + "/" + path) }

  /// AMOS22: 1, 410 (CT) and 500 (MR) for training, 409 (CT) and 410 (MR) for validation, 500 (CT) and 501 (MR) as test.
  func amos22() throws {
    let organs = [
      "background", "spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver", "stomach", "aorta", "postcava",
      "pancreas", "right adrenal gland", "left adrenal gland", "duodenum", "bladder", "prostate/uterus",
    ]
    // Out of order on purpose: the order of the labels is that of their values.
    let labels = organs.enumerated().reversed().map { "\"\($0.offset)\": \"\($0.element)\"" }.joined(separator: ", ")
    func list(_ part: String, _ names: [String], _ labelled: Bool) -> String {
      names.map {
        "{\"image\": \"./images\(part)/amos_\($0).nii.gz\"" + (labelled ? ", \"label\": \"./labels\(part)/amos_\($0).nii.gz\"}" : "}")
      }.joined(separator: ", ")
    }
    try makeFolder(root)
    try text(
      "dataset.json",
      """
      {"name": "AMOS", "modality": {"0": "CT"}, "labels": {\(labels)},
       "training": [\(list("Tr", ["0001", "0410", "0500"], true))],
       "validation": [\(list("Va", ["0409", "0410"], true))],
       "test": [\(list("Ts", ["0500", "0501"], false))]}
      """)
    for (index, name) in ["Tr/amos_0001", "Tr/amos_0410", "Tr/amos_0500", "Va/amos_0409", "Va/amos_0410"].enumerated() {
      try pair("images\(name).nii.gz", "labels\(name).nii.gz", seed: index + 1)
    }
    for (index, name) in ["amos_0500", "amos_0501"].enumerated() { try volume("imagesTs/\(name).nii.gz", seed: 10 + index) }
  }

  func kits23(_ numbers: [Int] = [0, 1, 400]) throws {
    for number in numbers {
      let folder = "dataset/case_" + String(repeating: "0", count: 5 - String(number).count) + String(number)
      try pair("\(folder)/imaging.nii.gz", "\(folder)/segmentation.nii.gz", seed: number % 7)
      try volume("\(folder)/instances/kidney_instance-1_annotation-1.nii.gz", seed: 0, labels: true)
    }
    try text("dataset/kits23.json", "[]")
  }

  func lits() throws {
    try pair("Training Batch 1/volume-0.nii", "Training Batch 1/segmentation-0.nii", seed: 1)
    try pair("Training Batch 1/volume-2.nii", "Training Batch 1/segmentation-2.nii", seed: 2)
    try pair("media/nas/Training Batch 2/volume-10.nii.gz", "media/nas/Training Batch 2/segmentation-10.nii", seed: 3)
    try volume("Testing/test-volume-3.nii", seed: 4)
  }
}

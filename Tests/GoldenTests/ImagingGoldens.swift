import Imaging
import Platform
import Tensors
import WeightFiles

let imagingGoldens: [GoldenCheck] = [
  GoldenCheck("resample/resample.safetensors", run: checkResampling),
  GoldenCheck("resample/shapes.json", run: checkShapes),
  GoldenCheck("preproc/crop_nonzero.safetensors", run: checkCrop),
  GoldenCheck("readers/readers.safetensors", run: checkReaderArrays),
  GoldenCheck("readers/readers.json", run: checkReaderGeometry),
]

private func doubles(_ json: JSON?) -> [Double] { json?.arrayValue?.compactMap(\.doubleValue) ?? [] }
private func ints(_ json: JSON?) -> [Int] { json?.arrayValue?.compactMap(\.intValue) ?? [] }

private func checkResampling(_ file: GoldenFile) throws {
  for item in file.entry["cases"]?.arrayValue ?? [] {
    guard let name = item["name"]?.stringValue else { continue }
    let (current, new) = (doubles(item["current_spacing"]), doubles(item["new_spacing"]))
    let (order, orderZ) = (item["order"]?.intValue ?? 3, item["order_z"]?.intValue ?? 0)
    let force = item["force_separate_z"]?.boolValue
    let axis = Resampling.separateAxis(current: current, new: new, force: force)
    file.expect(axis == item["axis"]?.intValue, name + ".axis", "axis \(axis.map(String.init) ?? "none")")
    let input = try file.tensor(name + ".in")
    let shape = ints(item["new_shape"])
    if item["is_seg"]?.boolValue == true {
      let labels = try Tensor(input.shape, .int16, in: file.budget)
      for index in 0..<input.count { labels.elements(Int16.self)[index] = Int16(input.floats[index]) }
      let result = try Resampling.resampleLabels(
        labels, to: shape, current: current, new: new, order: order, orderZ: orderZ, forceSeparateZ: force, in: file.budget)
      try file.compare(name + ".out", result)
    } else {
      let result = try Resampling.resampleImage(
        input, to: shape, current: current, new: new, order: order, orderZ: orderZ, forceSeparateZ: force, in: file.budget)
      let half = item["out_dtype"]?.stringValue == "float16"
      try file.compare(name + ".out", result.floats.map { half ? floatFromFloat16(float16Bits($0)) : $0 })
    }
  }
}

private func checkShapes(_ file: GoldenFile) throws {
  let json = try JSON.parse(InputFile.contents(file.path), source: file.path)
  for (index, item) in (json["compute_new_shape"]?.arrayValue ?? []).enumerated() {
    let shape = try Resampling.newShape(
      shape: ints(item["old_shape"]), current: doubles(item["old_spacing"]), new: doubles(item["new_spacing"]))
    file.expect(shape == ints(item["new_shape"]), "compute_new_shape/\(index)", "is \(shape)")
  }
  for (index, item) in (json["separate_z"]?.arrayValue ?? []).enumerated() {
    let axis = Resampling.separateAxis(
      current: doubles(item["current_spacing"]), new: doubles(item["new_spacing"]), force: item["force_separate_z"]?.boolValue)
    file.expect(axis == item["axis"]?.intValue, "separate_z/\(index)", "axis \(axis.map(String.init) ?? "none")")
  }
}

private func checkCrop(_ file: GoldenFile) throws {
  for item in file.entry["cases"]?.arrayValue ?? [] {
    guard let name = item["name"]?.stringValue else { continue }
    let data = try file.tensor(name + ".data_in")
    let (channels, depth, height, width) = (data.shape[0], data.shape[1], data.shape[2], data.shape[3])
    let volume = try Volume(
      allocating: .float32, channels: channels, geometry: Geometry(dims: [width, height, depth]), in: file.budget)
    volume.mutableBase.copyMemory(from: data.pointer, byteCount: data.byteCount)
    let box = try CropToNonzero.box(of: [volume], in: file.budget)
    let expected = item["bbox"]?.arrayValue?.map(ints) ?? []
    let got = [2, 1, 0].map { [box.lower[$0], box.upper[$0]] }
    file.expect(got == expected, name + ".bbox", "is \(got), expected \(expected)")
    let mask = try CropToNonzero.mask(of: [volume], in: box, budget: file.budget)
    let seg = try file.has(name + ".seg_in") ? file.doubles(name + ".seg_in") : []
    let d = box.dims
    var (values, labels): ([Double], [Double]) = ([], [])
    for channel in 0...channels {
      for z in 0..<d[2] {
        for y in 0..<d[1] {
          for x in 0..<d[0] {
            let at = (x + box.lower[0], y + box.lower[1], z + box.lower[2])
            if channel < channels {
              values.append(volume.value(at.0, at.1, at.2, channel: channel))
            } else {
              let label = seg.isEmpty ? 0 : seg[(at.2 * height + at.1) * width + at.0]
              labels.append(label == 0 && !mask[x, y, z] ? -1 : label)
            }
          }
        }
      }
    }
    try file.compare(name + ".out_data", values)
    try file.compare(name + ".out_seg", labels)
  }
}

private func readGolden(_ name: String, _ file: GoldenFile) throws -> (image: VolumeFile.Image, reader: VolumeFile.Reader)? {
  let parts = name.split(separator: ".").map(String.init)
  guard parts.count == 2, let reader = VolumeFile.Reader(rawValue: parts[1]) else { return nil }
  let path = file.folder + "/raw/Dataset901_TinyCT/imagesTr/\(parts[0])_0000.nii.gz"
  return (try NIfTI.readImage(path, reader: reader, in: file.budget), reader)
}

/// Arrays are stored as `[:, ::6, ::4, ::4]` of (channel, z, y, x).
private func checkReaderArrays(_ file: GoldenFile) throws {
  for name in try file.file().names {
    guard let (image, _) = try readGolden(name, file) else { continue }
    let d = image.volume.geometry.dims
    var values: [Double] = []
    for z in stride(from: 0, to: d[2], by: 6) {
      for y in stride(from: 0, to: d[1], by: 4) {
        for x in stride(from: 0, to: d[0], by: 4) { values.append(image.volume.value(x, y, z)) }
      }
    }
    try file.compare(name, values)
  }
}

private func checkReaderGeometry(_ file: GoldenFile) throws {
  let json = try JSON.parse(InputFile.contents(file.path), source: file.path)
  for (name, expected) in json.objectValue?.entries ?? [] {
    guard let (image, reader) = try readGolden(name, file) else { continue }
    let (volume, geometry) = (image.volume, image.volume.geometry)
    let d = geometry.dims
    var sum = 0.0
    for z in 0..<d[2] {
      for y in 0..<d[1] {
        for x in 0..<d[0] { sum += volume.value(x, y, z) }
      }
    }
    func affine(_ rows: [Double]) -> JSON {
      let last = [0.0, 0, 0, 1]
      return .array((0..<4).map { row in JSON.numbers(row < 3 ? Array(rows[row * 4..<row * 4 + 4]) : last) })
    }
    var props: [(String, JSON)] = []
    if reader == .simpleITK {
      props = [
        (
          "sitk_stuff",
          .object(
            ("spacing", .numbers(geometry.spacing)), ("origin", .numbers(geometry.origin)),
            ("direction", .numbers(geometry.direction)))
        )
      ]
    } else {
      var stuff = [("original_affine", affine(image.affine))]
      if reader == .nibabelReorient { stuff.append(("reoriented_affine", affine(geometry.affineRAS))) }
      props = [("nibabel_stuff", .object(JSONObject(stuff)))]
    }
    let got = JSON.object(
      ("shape", .integers([1] + d.reversed())), ("spacing", .numbers(geometry.spacing.reversed())),
      ("props", .object(JSONObject(props))), ("sum", .number(sum)))
    file.compare(json: got, expected, path: name)
  }
}

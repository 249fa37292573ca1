internal import FineTuning
internal import Imaging
public import Platform
public import Probing
internal import Segmentation
internal import Tensors

/// Reads labelled slices for probing from files of volumes.
public enum ProbeData {
  /// An image with its label map.
  struct Pair {
    let image: String
    let labels: String
  }

  /// `path`: a dataset folder of nnU-Net; a folder with `images` and `labels` (or `imagesTr` and `labelsTr`) whose files have the same
  /// names, the images' with or without `_0000`; or two files, "image,labels". Volumes are turned to LPS, slices are axial.
  ///
  /// `chosen`: the label values that are looked for, the others count as background; empty: all that occur. At most `maximum` slices are
  /// taken, evenly from all that show one of them.
  /// Throws: `.invalid` for a folder without pairs, images of several channels, unequal grids, labels that do not occur, are given twice or
  /// are more than 4095; as `VolumeFile.read`.
  public static func read(
    _ path: String, labels chosen: [Int] = [], maximum: Int = 96, in budget: MemoryBudget, control: RunControl = RunControl()
  ) throws(MedDINOError) -> LabelledSlices {
    guard maximum >= 2 else { throw .invalid("the maximum of labelled slices is \(maximum), expected at least 2") }
    for (index, label) in chosen.enumerated() where chosen[..<index].contains(label) {
      throw .invalid("label \(label) is given twice, expected each once")
    }
    let source = try source(path)
    var volumes: [(image: Volume, labels: Volume)] = []
    var places: [(volume: Int, slice: Int)] = []
    var found: Set<Int> = []
    for (number, pair) in source.pairs.enumerated() {
      try control.update(Double(number) / Double(source.pairs.count))
      let volume = try read(pair, in: budget)
      for slice in 0..<volume.labels.geometry.dims[2] {
        var values = try values(volume.labels, slice, pair.labels).subtracting([0])
        if let ignored = source.ignored { values.remove(ignored) }
        if !chosen.isEmpty { values.formIntersection(chosen) }
        if values.isEmpty { continue }
        found.formUnion(values)
        places.append((number, slice))
      }
      volumes.append(volume)
    }
    let labels = chosen.isEmpty ? found.sorted() : chosen
    if let missing = labels.first(where: { !found.contains($0) }) { throw .invalid("\(path): label \(missing) does not occur") }
    guard !labels.isEmpty else { throw .invalid("\(path): the label maps hold no label but 0") }
    guard labels.count <= LabelledSlices.largestCount else {
      throw .invalid(
        "\(path): the label maps hold \(labels.count) labels, expected at most \(LabelledSlices.largestCount); choose some of them")
    }
    let count = min(places.count, maximum)
    var slices: [LabelledSlice] = []
    for index in 0..<count {
      let place = places[index * places.count / count]
      let volume = volumes[place.volume]
      slices.append(try labelled(volume, place.slice, place.volume, labels, source.ignored, in: budget))
    }
    return try LabelledSlices(labels: labels.map { source.names[$0] ?? "label \($0)" }, slices: slices)
  }

  // MARK: files

  private struct Source {
    var pairs: [Pair]
    var names: [Int: String] = [:]
    var ignored: Int?
  }

  private static func source(_ path: String) throws(MedDINOError) -> Source {
    let parts = path.split(separator: ",").map(String.init)
    if parts.count == 2 { return Source(pairs: [Pair(image: parts[0], labels: parts[1])]) }
    guard FileKind.of(path) == .directory else {
      throw .invalid("\(path): no folder of labelled volumes, expected one, or two files as image,labels")
    }
    if FileKind.of(path + "/dataset.json") == .regular {
      let dataset = try RawDataset(path)
      guard dataset.description.channelNames.count == 1 else {
        throw .unsupported("\(path): \(dataset.description.channelNames.count) channels, probes take one in Hounsfield units")
      }
      var source = Source(pairs: [], ignored: dataset.description.ignoreLabel)
      for item in dataset.cases {
        guard let image = item.images.first else { throw .invalid("\(path): case \(item.identifier) has no image") }
        source.pairs.append(Pair(image: image, labels: item.label))
      }
      for label in dataset.description.labels where label.values.count == 1 { source.names[label.values[0]] = label.name }
      guard !source.pairs.isEmpty else { throw .invalid("\(path): no training cases") }
      return source
    }
    for (images, labels) in [("images", "labels"), ("imagesTr", "labelsTr")] where FileKind.of(path + "/" + images) == .directory {
      return Source(pairs: try pairs(path + "/" + images, path + "/" + labels))
    }
    throw .invalid("\(path): neither dataset.json nor a folder images, expected nnU-Net's layout, or folders images and labels")
  }

  private static func pairs(_ images: String, _ labels: String) throws(MedDINOError) -> [Pair] {
    guard FileKind.of(labels) == .directory else { throw .invalid("\(labels): no such folder, expected the label maps of \(images)") }
    var pairs: [Pair] = []
    let known = Set(try folderEntries(labels))
    for name in try folderEntries(images).sorted() {
      guard let stem = VolumeFile.stem(name) else { continue }
      let bare = stem.hasSuffix("_0000") ? String(stem.dropLast(5)) : stem
      guard let match = ([stem, bare].flatMap { stem in VolumeFile.endings.map { stem + $0 } }).first(where: known.contains) else {
        throw .invalid("\(images)/\(name): no label map of this name in \(labels)")
      }
      pairs.append(Pair(image: images + "/" + name, labels: labels + "/" + match))
    }
    guard !pairs.isEmpty else { throw .invalid("\(images): no files ending in \(VolumeFile.endingsInWords) in this folder") }
    return pairs
  }

  private static func read(_ pair: Pair, in budget: MemoryBudget) throws(MedDINOError) -> (image: Volume, labels: Volume) {
    let (image, labels) = (try VolumeFile.read(pair.image, in: budget), try VolumeFile.read(pair.labels, in: budget))
    guard image.channels == 1, labels.channels == 1 else {
      throw .invalid("\(pair.image): \(image.channels) channels and \(labels.channels) of its label map, expected 1")
    }
    guard image.geometry.dims == labels.geometry.dims else {
      throw .invalid("\(pair.labels): grid \(labels.geometry.dims), the image has \(image.geometry.dims)")
    }
    // Both are turned alike, so that a label map without geometry of its own fits too.
    let steps = try image.geometry.orientation().steps(to: .lps)
    return (image.rearranged(steps), labels.rearranged(steps))
  }

  // MARK: slices

  private static func values(_ labels: Volume, _ slice: Int, _ path: String) throws(MedDINOError) -> Set<Int> {
    var values: Set<Int> = []
    var last = 0.0
    for y in 0..<labels.geometry.dims[1] {
      for x in 0..<labels.geometry.dims[0] {
        let value = labels.value(x, y, slice)
        if value == last { continue }
        last = value
        guard let whole = Int(exactly: value), (0...65535).contains(whole) else {
          throw .invalid("\(path): holds the value \(value), expected label maps of whole numbers from 0 to 65535")
        }
        values.insert(whole)
      }
    }
    return values
  }

  private static func labelled(
    _ volume: (image: Volume, labels: Volume), _ slice: Int, _ number: Int, _ labels: [Int], _ ignored: Int?, in budget: MemoryBudget
  ) throws(MedDINOError) -> LabelledSlice {
    let (rows, columns) = (volume.image.geometry.dims[1], volume.image.geometry.dims[0])
    let pixels = try Tensor([rows, columns], in: budget, "labelled slice")
    let classes = try Tensor([rows, columns], .int16, in: budget, "labelled slice")
    guard let base = pixels.floats.baseAddress else { throw .shape("slice \(slice) is empty") }
    volume.image.readPlane(
      axis: 2, index: slice, rowAxis: 1, rows: 0..<rows, columnAxis: 0, columns: 0..<columns, channel: 0, into: base)
    let numbers = Dictionary(labels.enumerated().map { ($1, Int16($0 + 1)) }, uniquingKeysWith: { first, _ in first })
    let to = classes.elements(Int16.self)
    for y in 0..<rows {
      for x in 0..<columns {
        let value = Int(volume.labels.value(x, y, slice))
        to[y * columns + x] = value == ignored ? -1 : numbers[value] ?? 0
      }
    }
    withExtendedLifetime((pixels, classes)) {}
    return try LabelledSlice(caseNumber: number, pixels: pixels, classes: classes)
  }
}

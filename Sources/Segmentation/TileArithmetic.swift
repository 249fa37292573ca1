internal import Glibc

/// The loops over pixels between the network and the labels. Planes are dense and row-major.
enum TileArithmetic {
  /// Spreads dense planes [channels, rows, columns] at the start of `planes` to [channels, paddedRows, paddedColumns] in place,
  /// with zeros around them. Goes from the end, where a target never overwrites a source that is still to come.
  static func pad(_ planes: UnsafeMutablePointer<Float>, channels: Int, rows: SlidingWindow.Axis, columns: SlidingWindow.Axis) {
    let height = rows.paddedSize, width = columns.paddedSize
    if height == rows.size, width == columns.size { return }
    for channel in Swift.stride(from: channels - 1, through: 0, by: -1) {
      let target = planes + channel * height * width
      let source = planes + channel * rows.size * columns.size
      let below = rows.padLow + rows.size
      (target + below * width).update(repeating: 0, count: (height - below) * width)
      for row in Swift.stride(from: rows.size - 1, through: 0, by: -1) {
        let line = target + (rows.padLow + row) * width
        memmove(line + columns.padLow, source + row * columns.size, columns.size * MemoryLayout<Float>.size)
        line.update(repeating: 0, count: columns.padLow)
        let after = columns.padLow + columns.size
        (line + after).update(repeating: 0, count: width - after)
      }
      target.update(repeating: 0, count: rows.padLow * width)
    }
  }

  /// Copies the window at (top, left) of a plane of `width` columns into a dense tile, flipped as asked for.
  static func cut(
    _ plane: UnsafePointer<Float>, width: Int, top: Int, left: Int, tileRows: Int, tileColumns: Int, _ mirroring: Mirroring,
    into tile: UnsafeMutablePointer<Float>
  ) {
    for row in 0..<tileRows {
      let source = plane + (top + row) * width + left
      let target = tile + (mirroring.rows ? tileRows - 1 - row : row) * tileColumns
      if mirroring.columns {
        for column in 0..<tileColumns { target[tileColumns - 1 - column] = source[column] }
      } else {
        target.update(from: source, count: tileColumns)
      }
    }
  }

  /// Adds rows of a tile's logits, flipped back and weighted, to a plane of `width` columns.
  static func add(
    _ tile: UnsafePointer<Float>, weights: UnsafePointer<Float>, tileRows: Int, tileColumns: Int, rows: Range<Int>,
    _ mirroring: Mirroring, to plane: UnsafeMutablePointer<Float>, width: Int, top: Int, left: Int
  ) {
    for row in rows {
      let source = tile + (mirroring.rows ? tileRows - 1 - row : row) * tileColumns
      let weight = weights + row * tileColumns
      let target = plane + (top + row) * width + left
      if mirroring.columns {
        for column in 0..<tileColumns { target[column] += source[tileColumns - 1 - column] * weight[column] }
      } else {
        for column in 0..<tileColumns { target[column] += source[column] * weight[column] }
      }
    }
  }

  /// Divides a padded plane by `weights * count` and closes up its image part at the start of the plane.
  /// Returns false when a value is not finite.
  static func finish(
    _ plane: UnsafeMutablePointer<Float>, weights: UnsafePointer<Float>, count: Float, rows: SlidingWindow.Axis,
    columns: SlidingWindow.Axis
  ) -> Bool {
    let width = columns.paddedSize
    var broken = 0
    for row in 0..<rows.size {
      let from = (rows.padLow + row) * width + columns.padLow
      let source = plane + from
      let weight = weights + from
      let target = plane + row * columns.size
      for column in 0..<columns.size {
        let value = source[column] / (weight[column] * count)
        target[column] = value
        broken += value.bitPattern & 0x7f80_0000 == 0x7f80_0000 ? 1 : 0
      }
    }
    return broken == 0
  }

  /// The first class with the largest logit, for one row of each plane. `best` is scratch of `count` floats.
  static func argmax(
    _ line: UnsafePointer<Float>, planeStride: Int, classes: Int, count: Int, best: UnsafeMutablePointer<Float>,
    into heads: UnsafeMutablePointer<Int32>
  ) {
    best.update(from: line, count: count)
    heads.update(repeating: 0, count: count)
    for head in 1..<max(classes, 1) {
      let logits = line + head * planeStride
      let index = Int32(truncatingIfNeeded: head)
      for i in 0..<count {
        let larger = logits[i] > best[i]
        heads[i] = larger ? index : heads[i]
        best[i] = larger ? logits[i] : best[i]
      }
    }
  }

  /// Turns one row of each plane from logits into softmax probabilities. `largest` holds the row's largest logits; `sum` is scratch.
  static func softmax(
    _ line: UnsafeMutablePointer<Float>, planeStride: Int, classes: Int, count: Int, largest: UnsafePointer<Float>,
    sum: UnsafeMutablePointer<Float>
  ) {
    sum.update(repeating: 0, count: count)
    for head in 0..<classes {
      let values = line + head * planeStride
      for i in 0..<count {
        values[i] = expf(values[i] - largest[i])
        sum[i] += values[i]
      }
    }
    for head in 0..<classes {
      let values = line + head * planeStride
      for i in 0..<count { values[i] /= sum[i] }
    }
  }

  static func sigmoid(_ line: UnsafeMutablePointer<Float>, planeStride: Int, classes: Int, count: Int) {
    for head in 0..<classes {
      let values = line + head * planeStride
      for i in 0..<count { values[i] = 1 / (1 + expf(-values[i])) }
    }
  }
}

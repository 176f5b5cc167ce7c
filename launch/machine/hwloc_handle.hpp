/// Owning handles of hwloc's topologies and bitmaps, for the source files that ask hwloc.
#pragma once

#include <hwloc.h>

#include <memory>
#include <new>

namespace longreach::launch {

struct TopologyDeleter {
  void operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }
};
using Topology = std::unique_ptr<hwloc_topology, TopologyDeleter>;

/// A topology that is still to be loaded; null when hwloc cannot make one.
inline Topology new_topology() {
  hwloc_topology_t topology = nullptr;
  return Topology(hwloc_topology_init(&topology) == 0 ? topology : nullptr);
}

struct BitmapDeleter {
  void operator()(hwloc_bitmap_s* bitmap) const { hwloc_bitmap_free(bitmap); }
};
using Bitmap = std::unique_ptr<hwloc_bitmap_s, BitmapDeleter>;

/// An empty bitmap. Errors: std::bad_alloc.
inline Bitmap new_bitmap() {
  Bitmap bitmap(hwloc_bitmap_alloc());
  if (!bitmap) throw std::bad_alloc();
  return bitmap;
}

}  // namespace longreach::launch

/// A client of HTTP/1.1 with many requests at once, all on the caller's thread. Knows nothing of
/// what is asked.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace longreach::serve {

/// Where a server is, and what goes with every request.
struct HttpPeer {
  std::string host;  ///< A name or an address; of IPv6 without brackets.
  std::uint16_t port = 80;
  std::string key = {};  ///< Empty: none is sent.

  /// "http://127.0.0.1:8080".
  std::string url() const;
};

/// How a request ended.
struct HttpEnd {
  std::string fault;    ///< What went wrong with the connection; empty: nothing did.
  unsigned status = 0;  ///< Of the answer; 0: none came.
  std::string body;     ///< Of an answer of another status than 200, or its beginning.
};

/// Called from run(); they may make more requests.
struct HttpStreamHandlers {
  /// The next bytes of the body of an answer of status 200. Whether more are wanted: if not, the
  /// connection is closed, and `end` is not called.
  std::function<bool(std::string_view bytes)> take;
  std::function<void(HttpEnd end)> end;
};

/// Each request has a connection of its own, as if each came from another client.
class HttpClient {
 public:
  /// Looks the host up. Errors: InputError naming the server.
  explicit HttpClient(const HttpPeer& peer);
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();

  /// The whole answer to a GET, waited for until `goes_on` says no, or for kPatience.
  HttpEnd get(const std::string& path, const std::function<bool()>& goes_on);

  /// Sends a body of JSON once run() is called. There is no limit of time but for connecting, as a
  /// long prompt may be read for hours.
  void post(const std::string& path, std::string body, HttpStreamHandlers handlers);
  /// Calls something at a time, from run().
  void at(std::chrono::steady_clock::time_point time, std::function<void()> task);
  /// Does all that was asked for, and returns when nothing is left to do, or when `goes_on`, which
  /// is asked several times a second, says no.
  void run(const std::function<bool()>& goes_on);

  static constexpr std::chrono::seconds kPatience{30};

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace longreach::serve

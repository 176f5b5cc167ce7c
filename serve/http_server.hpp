/// HTTP/1.1: connections and their limits. Knows nothing of what is asked.
///
/// One thread moves all bytes, so connections that wait cost no thread; another one is there for
/// work that would hold it up. What is said of a limit ends a connection, never the server.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace longreach::serve {

struct HttpLimits {
  std::size_t max_connections = 1024;
  std::size_t max_header_bytes = 16384;  ///< Of the request line and all fields.
  std::size_t max_body_bytes = std::size_t{1} << 20;
  std::size_t max_bodies_bytes = std::size_t{1} << 28;          ///< Of all that are being read.
  std::size_t max_buffered_bytes = std::size_t{1} << 22;        ///< Of a stream that nobody reads.
  std::chrono::milliseconds idle = std::chrono::seconds(75);    ///< Between requests.
  std::chrono::milliseconds header = std::chrono::seconds(10);  ///< From its first byte on.
  std::chrono::milliseconds body = std::chrono::seconds(120);   ///< From its first byte on.
  std::chrono::milliseconds write = std::chrono::seconds(30);   ///< Of 64 KiB.
  std::chrono::milliseconds filler = std::chrono::seconds(15);  ///< See begin_stream().
};

struct HttpRequest {
  std::string method;
  std::string path;           ///< Without a query.
  std::string authorization;  ///< That field; empty if there is none.
  std::string body;
};

struct HttpAnswer {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> fields = {};  ///< More of them.
};

/// A request that was answered, or a client that went away before (status 499, as elsewhere).
struct AccessRecord {
  std::string client;  ///< Its address.
  std::string method, path;
  unsigned status = 0;
  std::size_t n_bytes = 0;                              ///< Sent.
  double seconds = 0;                                   ///< From its first byte on.
  std::vector<std::pair<std::string, double>> figures;  ///< See HttpReply::note().
};

/// Where the answer to one request goes. Called on the thread of connections. What is sent to a
/// client that is gone is lost.
class HttpReply {
 public:
  virtual ~HttpReply() = default;
  /// The whole answer.
  virtual void send(HttpAnswer answer) = 0;
  /// An answer that comes in pieces, with status 200. Whenever nothing was written for a while,
  /// `filler` is, to keep the connection. A client that does not read loses it.
  virtual void begin_stream(std::string_view content_type, std::string filler) = 0;
  virtual void write(std::string_view piece) = 0;
  virtual void end() = 0;
  /// Called once if the client goes away before the answer is complete; at once if it has. One that
  /// closes its sending side counts as gone.
  virtual void on_gone(std::function<void()> gone) = 0;
  /// A figure for the access log.
  virtual void note(std::string name, double value) = 0;
};

/// All called on the thread of connections.
struct HttpHandlers {
  /// Asked before the body is read; an answer refuses the request.
  std::function<std::optional<HttpAnswer>(const HttpRequest&)> admit;
  /// Has to answer, now or later.
  std::function<void(HttpRequest, std::shared_ptr<HttpReply>)> handle;
  /// A body for an answer that says what is wrong.
  std::function<std::string(unsigned status, std::string_view message)> error_body;
  std::function<void(const AccessRecord&)> log;
};

class HttpServer {
 public:
  /// Takes the address; nobody can connect yet. Port 0: any that is free. Starts the threads, which
  /// keep the cores that the caller may use now. Errors: InputError naming --host or --port.
  HttpServer(const std::string& host, std::uint16_t port, const HttpLimits& limits);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer();

  /// "http://127.0.0.1:8080".
  std::string url() const;
  /// From now on connections are taken. Errors: InputError naming --port.
  void start(HttpHandlers handlers);
  /// From now on a connection ends with its answer.
  void drain();
  /// Waits for so long at most until all answers are written; then ends all connections and both
  /// threads. Does nothing the second time.
  void stop(std::chrono::milliseconds patience);

  /// Runs something on the thread of connections, in order. Any thread.
  void post(std::function<void()> task);
  /// Runs something on the thread for work, in order. Any thread.
  void post_work(std::function<void()> task);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace longreach::serve

/// The page of the server, for browsers: page.html as it is.
#pragma once

#include <string_view>

namespace longreach::serve {

extern const std::string_view kPage;

}  // namespace longreach::serve

//! What older systems answered, request by request.

mod media_servers;
